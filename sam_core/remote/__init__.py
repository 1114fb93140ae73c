"""The model "cell" inside transformers: what a Hub repository of it holds so that sam-core is not needed to load it.

Nothing imports these modules but transformers, from the copy that `sam_core.remote_code` puts into a saved model.
"""
