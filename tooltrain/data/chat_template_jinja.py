"""tooltrain's own chat template as Jinja, for tokenizers that others load.

What `ChatTemplate` makes of a prompt and its turns, `apply_chat_template` of transformers makes of
the same conversation in OpenAI's messages, to the byte. (Control tokens that outside text spells
out are letters to `Tokenizer`, and control tokens to transformers.)
"""

from __future__ import annotations

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.tokenizer import END, START
from tooltrain.errors import UserError

_SIGNATURE = (
    "{{- tool.function.name }}("
    "{%- for name in tool.function.parameters.properties %}"
    "{{- name }}{{ '' if name in (tool.function.parameters.required or []) else '?' }}"
    "{{- '' if loop.last else ', ' }}"
    "{%- endfor %})"
)

# LISTED stands for one tool, START and END for the marks of a turn.
_TEMPLATE = r"""
{{- 'START' + 'system\n<tools>\n' }}
{%- for tool in tools or [] %}LISTED{{ '' if loop.last else '\n' }}
{%- endfor %}
{{- '\n</tools>END\n' }}
{%- for message in messages %}
{%- if message.role == 'user' %}
{{- 'STARTuser\n' + message.content + 'END\n' }}
{%- elif message.role == 'assistant' %}
{{- 'STARTassistant\n' }}
{%- for call in message.tool_calls or [] %}
{%- set call = call.function if call.function else call %}
{{- '<tool_call>\n{"name": ' + call.name | tojson + ', "arguments": ' }}
{{- call.arguments if call.arguments is string else call.arguments | tojson }}
{{- '}\n</tool_call>' + ('' if loop.last else '\n') }}
{%- else %}
{{- message.content }}
{%- endfor %}
{{- 'END' + ('' if loop.last else '\n') }}
{%- elif message.role == 'tool' %}
{{- 'STARTuser\n' if loop.previtem.role != 'tool' else '\n' }}
{{- '<tool_response>\n' + message.content + '\n</tool_response>' }}
{{- '' if loop.nextitem and loop.nextitem.role == 'tool' else 'END\n' }}
{%- else %}
{{- raise_exception('roles are user, assistant and tool; got ' + message.role) }}
{%- endif %}
{%- endfor %}
{{- 'STARTassistant\n' if add_generation_prompt else '' }}
"""


def chat_jinja(template: ChatTemplate) -> str:
    """The Jinja source of `template`. Raises UserError for the template of a published family,
    which has its own."""
    if type(template) is not ChatTemplate:
        raise UserError(
            f"{type(template).__name__} is another model's template; use the chat_template of that "
            "model's own tokenizer_config.json"
        )
    source = _TEMPLATE.strip().replace("\n", "")
    return source.replace("LISTED", _SIGNATURE).replace("START", START).replace("END", END)
