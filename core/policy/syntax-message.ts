// SPDX-License-Identifier: Apache-2.0

/** What is wrong with a YAML text and what to do about it. `reason` is the parser's own word, which knows the place but not what was meant. */
export function syntaxMessage(reason: string, text: string, position = text.length): string {
  const here = text.slice(position, position + 1);
  if (here === '@' || here === '`')
    return `a value cannot begin with "${here}": put it in quotes, as in '${text.slice(position).match(/^[^\s,\]}#]+/)?.[0] ?? here}'`;
  if (here === '%' || here === '&' || here === '*') return `${reason}: a value that begins with "${here}" needs quotes`;
  const hint = hints[reason];
  return hint === undefined ? reason : `${reason}: ${hint}`;
}

/** By the parser's reasons. */
const hints: Readonly<Record<string, string>> = {
  'deficient indentation':
    'a list, mapping or quoted text that began above is not closed, or this line stands too far left',
  'bad indentation of a mapping entry':
    'a value with ": " or "#" in it needs quotes, and keys of one mapping stand below each other',
  'unexpected end of the stream within a flow collection': 'a "[" or "{" is not closed',
  'unexpected end of the stream within a double quoted scalar': 'a quote is not closed',
  'unexpected end of the stream within a single quoted scalar': 'a quote is not closed',
};
