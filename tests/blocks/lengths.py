"""Messages as slackblocks builds them. Usage: lengths.py MESSAGES

slackblocks refuses texts and lists that are longer than Slack allows, unknown keys, missing parts,
and parts that do not go together.
"""

import json
import sys

from slackblocks import blocks, elements, messages, objects, rich_text

CHARTS = {
    "area": objects.AreaChart,
    "bar": objects.BarChart,
    "line": objects.LineChart,
    "pie": objects.PieChart,
}
# Objects without a type, by the key under which they are.
UNTYPED = {
    "axis_config": objects.AxisConfig,
    "confirm": objects.ConfirmationDialogue,
    "data": objects.DataPoint,
    "segments": objects.ChartSegment,
    "series": objects.DataSeries,
}
ELEMENTS = {
    "button": elements.Button,
    "card": blocks.CardBlock,
    "image": elements.Image,
    "link": rich_text.RichTextLink,
    "mrkdwn": lambda **text: objects.Text(type_=objects.TextType.MARKDOWN, **text),
    "plain_text": lambda **text: objects.Text(type_=objects.TextType.PLAINTEXT, **text),
    "raw_text": objects.RawText,
    "rich_text": blocks.RichTextBlock,
    "rich_text_section": rich_text.RichTextSection,
    "task_card": blocks.TaskCardBlock,
    "text": rich_text.RichText,
    "url": elements.URLSource,
    **CHARTS,
}
BLOCKS = {
    "actions": blocks.ActionsBlock,
    "card": blocks.CardBlock,
    "carousel": blocks.CarouselBlock,
    "container": blocks.ContainerBlock,
    "context": blocks.ContextBlock,
    "data_table": blocks.DataTableBlock,
    "data_visualization": blocks.DataVisualizationBlock,
    "divider": blocks.DividerBlock,
    "header": blocks.HeaderBlock,
    "image": blocks.ImageBlock,
    "plan": blocks.PlanBlock,
    "section": blocks.SectionBlock,
    "table": blocks.TableBlock,
    "task_card": blocks.TaskCardBlock,
}


def built(value, kinds=ELEMENTS, untyped=None):
    """The value as objects of slackblocks; raises an error for one that it refuses."""
    if isinstance(value, list):
        return [built(item, kinds, untyped) for item in value]
    if not isinstance(value, dict):
        return value
    inner = {
        key: built(item, BLOCKS if key == "child_blocks" else ELEMENTS, UNTYPED.get(key))
        for key, item in value.items()
        if key != "type"
    }
    if "type" in value:
        return kinds[value["type"]](**inner)
    return untyped(**inner) if untyped else inner


def problem(message):
    """The problem of a message; None if it has none."""
    try:
        built_blocks = built(message["blocks"], BLOCKS)
        messages.Message(channel="C1", text=message["text"], blocks=built_blocks).json()
    except Exception as error:  # pylint: disable=broad-except
        return f"{type(error).__name__}: {error}"
    return None


def plain(length):
    return {"type": "plain_text", "text": "x" * length}


def confirmed(**parts):
    confirm = {"title": plain(1), "text": plain(1), "confirm": plain(1), "deny": plain(1), **parts}
    button = {"type": "button", "text": plain(1), "confirm": confirm}
    return {"type": "actions", "elements": [button]}


def bars(labels, series=1):
    data = [{"label": label, "value": 1} for label in labels]
    chart = {
        "type": "bar",
        "series": [{"name": str(number), "data": data} for number in range(series)],
        "axis_config": {"categories": ["a", "b"]},
    }
    return {"type": "data_visualization", "title": "t", "chart": chart}


def pie(segments, label="a", value=1):
    segment = {"label": label, "value": value}
    chart = {"type": "pie", "segments": [segment] * segments}
    return {"type": "data_visualization", "title": "t", "chart": chart}


def nested():
    """Pairs of a block with good parts, and of one with a part that is just beyond a limit."""
    for part, most in [("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)]:
        yield confirmed(**{part: plain(most)}), confirmed(**{part: plain(most + 1)})
    yield confirmed(style="danger"), confirmed(style="loud")
    yield bars("ab"), bars("ac")
    yield bars("ba"), bars("a")
    yield bars("ab", series=12), bars("ab", series=13)
    yield pie(12), pie(13)
    yield pie(1, label="x" * 20), pie(1, label="x" * 21)
    yield pie(1, value=0.5), pie(1, value=0)
    task = {"type": "task_card", "task_id": "1", "title": "a", "status": "complete"}
    yield task, {**task, "status": "pending"}
    yield task, {**task, "sources": ["a"]}
    section = {"type": "rich_text_section", "elements": [{"type": "text", "text": "a"}]}
    yield (
        {**task, "output": {"type": "rich_text", "elements": [section]}},
        {**task, "output": section},
    )


def planted():
    """Pairs of a good block and of one that is just beyond a limit."""
    yield from nested()
    button = {"type": "button", "text": plain(75)}
    divider = {"type": "divider"}
    cell = {"type": "raw_text", "text": "a"}
    task = {"type": "task_card", "task_id": "1", "title": "a", "status": "pending"}
    yield {"type": "header", "text": plain(150)}, {"type": "header", "text": plain(151)}
    yield {"type": "section", "text": plain(3000)}, {"type": "section", "text": plain(3001)}
    yield {"type": "section", "text": plain(1)}, {"type": "section", "text": plain(0)}
    yield {"type": "section", "fields": [plain(2000)]}, {"type": "section", "fields": [plain(2001)]}
    yield (
        {"type": "section", "fields": [plain(1)] * 10},
        {"type": "section", "fields": [plain(1)] * 11},
    )
    yield (
        {"type": "actions", "elements": [button] * 25},
        {"type": "actions", "elements": [button] * 26},
    )
    yield (
        {"type": "actions", "elements": [button]},
        {"type": "actions", "elements": [{**button, "text": plain(76)}]},
    )
    yield (
        {"type": "actions", "elements": [{**button, "value": "x" * 2000}]},
        {"type": "actions", "elements": [{**button, "value": "x" * 2001}]},
    )
    yield (
        {"type": "context", "elements": [plain(1)] * 10},
        {"type": "context", "elements": [plain(1)] * 11},
    )
    yield (
        {"type": "image", "image_url": "https://x.test/", "alt_text": "x" * 2000},
        {"type": "image", "image_url": "https://x.test/", "alt_text": "x" * 2001},
    )
    yield {"type": "card", "title": plain(150)}, {"type": "card", "title": plain(151)}
    yield {"type": "card", "body": plain(200)}, {"type": "card", "body": plain(201)}
    yield (
        {"type": "container", "title": plain(150), "child_blocks": [divider] * 10},
        {"type": "container", "title": plain(150), "child_blocks": [divider] * 11},
    )
    yield (
        {"type": "container", "title": plain(1), "child_blocks": [divider]},
        {"type": "container", "child_blocks": [divider]},
    )
    yield (
        {"type": "plan", "title": "a", "tasks": [task]},
        {"type": "plan", "title": "a", "tasks": [task, task]},
    )
    yield (
        {"type": "data_table", "caption": "a", "rows": [[cell]] * 201},
        {"type": "data_table", "caption": "a", "rows": [[cell]] * 202},
    )
    yield {"type": "table", "rows": [[cell] * 20]}, {"type": "table", "rows": [[cell] * 21]}
    yield divider, {"type": "divider", "colour": "red"}
    yield divider, {"type": "marquee"}


def main():
    for good, bad in planted():
        found = problem({"text": "a", "blocks": [good]})
        assert found is None, f"{found}: {json.dumps(good)[:300]}"
        assert problem({"text": "a", "blocks": [bad]}), f"not found: {json.dumps(bad)[:300]}"
    assert problem({"text": "a", "blocks": [{"type": "divider"}] * 51}), "51 blocks were not found"
    number = 0
    with open(sys.argv[1], encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            found = problem(json.loads(line))
            assert found is None, f"line {number}: {found}\n{line[:2000]}"
    assert number >= 10_000, f"only {number} messages"
    print(f"slackblocks builds each of {number} messages")


main()
