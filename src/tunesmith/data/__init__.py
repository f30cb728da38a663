"""From rows to tokens: sources, formats, chat rendering and masks, the ledger, the token store, the feed."""
