"""What things are: records, identities, masks, tables. No I/O, no torch, no ray."""
