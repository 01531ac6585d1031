"""Every RPC against requests that nobody means well with; ``python -m tests.rpc_fuzz`` runs a million."""
