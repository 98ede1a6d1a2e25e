"""The chat format as a Jinja template for Transformers and the engines that read one.

It gives the ids that training sees, for our own messages and for those of OpenAI: `internlm2_records.turns` in Jinja. A
list of tools is a turn of its own behind what the system says first.
"""

CHAT_TEMPLATE = """
{%- set results = ('tool', 'function', 'observation') -%}
{%- set state = namespace(listed=not tools) -%}
{%- for message in messages -%}
{%- set role = 'environment' if message['role'] in results else message['role'] -%}
{%- set role = 'system' if role == 'developer' else role -%}
{%- set name = '<|plugin|>' if message['role'] in results else message.get('name') -%}
{%- if role != 'system' and not state.listed -%}
{{- '<|im_start|>system name=<|plugin|>\\n' + (tools | tojson) + '<|im_end|>\\n' -}}
{%- set state.listed = true -%}
{%- endif -%}
{{- '<|im_start|>' + role -}}
{%- if name in ('<|plugin|>', '<|interpreter|>') -%}{{- ' name=' + name -}}{%- endif -%}
{{- '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] or [] -%}{{- part['text'] -}}{%- endfor -%}
{%- endif -%}
{%- if message.get('tool_call') -%}
{{- '<|action_start|>' + message['tool_call']['tool'] + '\\n' + message['tool_call']['content'] + '<|action_end|>' -}}
{%- elif message.get('tool_calls') -%}
{{- '<|action_start|><|plugin|>\\n' + ('[' if message['tool_calls'] | length > 1 else '') -}}
{%- for call in message['tool_calls'] -%}
{{- ', ' if not loop.first else '' -}}
{%- if call['function']['arguments'] is string -%}
{{- '{"name": ' + (call['function']['name'] | tojson) + ', "arguments": ' + call['function']['arguments'] + '}' -}}
{%- else -%}
{{- call['function'] | tojson -}}
{%- endif -%}
{%- endfor -%}
{{- (']' if message['tool_calls'] | length > 1 else '') + '<|action_end|>' -}}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if not state.listed -%}
{{- '<|im_start|>system name=<|plugin|>\\n' + (tools | tojson) + '<|im_end|>\\n' -}}
{%- endif -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
""".strip()
"""For models whose conversations begin with ``<s>``, ``{{- bos_token -}}`` goes before it."""
