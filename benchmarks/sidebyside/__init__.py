"""One training run done twice: by Tunesmith and by TRL with PEFT, each in a fresh process on the same material."""
