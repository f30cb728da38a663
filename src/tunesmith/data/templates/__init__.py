"""Chat templates for models that have none: chatml, llama-2, plain.

Placeholders are filled for the tokenizer at hand: ``@@bos@@`` what it puts before a text, ``@@end@@`` what closes an
answer, ``@@before@@`` / ``@@after@@`` the blank between prompt and answer. A tokenizer whose words carry their blank
in front needs the blank in the answer, one whose words carry it behind needs it in the prompt: the boundary then falls
where the base model has always seen one.
"""
