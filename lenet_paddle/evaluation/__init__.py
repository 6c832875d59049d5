"""Room 3: model + batches -> one result dict."""
