"""The commands behind the console script `semscale`; nothing here imports torch before a call has been checked."""
