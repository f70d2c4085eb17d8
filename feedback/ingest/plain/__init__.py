"""Records that are read column by column, where nothing in them needs a second look; what is plain a format says.

    shapes        which shapes of the format the records of a block have, and the types of their fields
    records       lines in, tables of rows out
    judgements    which records are plain, and what they say
    sound         nothing in them beyond what plain ones have
    items         judgements in lists
    threads       judged messages of chats, with their threads
    joined        what they find in another file
    turns, times  texts, messages and times as Arrow and polars hold them

See `feedback.formats.plain`.
"""

__all__: list[str] = []
