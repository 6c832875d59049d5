"""Room 9: how long things take, beside how long others take for the same."""
