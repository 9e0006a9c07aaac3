"""Jobs: what each command does, joined from the parts below."""
