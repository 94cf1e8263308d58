// SPDX-License-Identifier: Apache-2.0
// Where the parts of a YAML text stand, read from the parser's events in one pass. Aliases lead to the text of their anchor.

import { EVENT_ID, type Event, getScalarValue, SCALAR_STYLE, type ScalarEvent } from 'js-yaml';

export interface Place {
  /** Offset of its first character. */
  readonly start: number;
  /** Of a mapping: by key, the key's own place and the value's. */
  readonly keys?: Map<string, KeyPlace>;
  /** Of a sequence. */
  readonly items?: Place[];
  /** Of a text: the part of the file between its quotes or its first and last line, and what that says. */
  readonly scalar?: { readonly valueStart: number; readonly valueEnd: number; readonly value: string };
}

interface KeyPlace {
  readonly start: number;
  value: Place;
}

export interface Places {
  readonly root: Place | undefined;
  /** Keys that stand in one mapping twice. */
  readonly duplicates: readonly { readonly key: string; readonly at: number; readonly first: number }[];
  /** Where each document begins. */
  readonly documents: readonly number[];
}

/** A collection that is still open. In a mapping `key` is the one whose value comes next. */
interface Open {
  readonly place: Place;
  key: KeyPlace | undefined;
}

/** Of the first document. */
export function readPlaces(events: readonly Event[], text: string): Places {
  const duplicates: { key: string; at: number; first: number }[] = [];
  const documents: number[] = [];
  const anchors = new Map<string, Place>();
  const open: Open[] = [];
  let root: Place | undefined;
  /** Puts a node where it belongs; in a mapping every other one is a key. */
  const add = (place: Place): void => {
    const parent = open.at(-1);
    if (parent === undefined) {
      documents.push(place.start);
      root ??= place;
    } else if (parent.place.items !== undefined) parent.place.items.push(place);
    else if (parent.key === undefined) parent.key = addKey(parent.place, place);
    else {
      // Nothing stands where a key has no value: then its key is the place.
      parent.key.value = place.start < 0 ? { ...place, start: parent.key.start } : place;
      parent.key = undefined;
    }
  };
  const addKey = (mapping: Place, place: Place): KeyPlace => {
    const key = { start: place.start, value: place };
    const name = place.scalar?.value;
    if (name === undefined) return key;
    const first = mapping.keys?.get(name);
    if (first !== undefined) duplicates.push({ key: name, at: place.start, first: first.start });
    else mapping.keys?.set(name, key);
    return key;
  };
  const begin = (event: Extract<Event, { anchorStart: number }>, place: Place): Place => {
    if (event.anchorStart >= 0) anchors.set(text.slice(event.anchorStart, event.anchorEnd), place);
    add(place);
    return place;
  };

  for (const event of events) {
    switch (event.type) {
      case EVENT_ID.SCALAR:
        begin(event, scalarPlace(event, text));
        break;
      case EVENT_ID.MAPPING:
        open.push({ place: begin(event, { start: event.start, keys: new Map() }), key: undefined });
        break;
      case EVENT_ID.SEQUENCE:
        open.push({ place: begin(event, { start: event.start, items: [] }), key: undefined });
        break;
      case EVENT_ID.ALIAS:
        add(anchors.get(text.slice(event.anchorStart, event.anchorEnd)) ?? { start: event.anchorStart });
        break;
      case EVENT_ID.POP:
        open.pop();
        break;
      case EVENT_ID.DOCUMENT:
        anchors.clear();
    }
  }
  return { root, duplicates, documents };
}

function scalarPlace(event: ScalarEvent, text: string): Place {
  const { style, valueStart, valueEnd } = event;
  const scalar = { valueStart, valueEnd, value: getScalarValue(text, event) };
  const isQuoted = style === SCALAR_STYLE.SINGLE_QUOTED || style === SCALAR_STYLE.DOUBLE_QUOTED;
  const isBlock = style === SCALAR_STYLE.LITERAL_BLOCK || style === SCALAR_STYLE.FOLDED_BLOCK;
  const indented = isBlock ? text.slice(valueStart, valueEnd).search(/\S/) : 0;
  return { start: isQuoted ? valueStart - 1 : valueStart + Math.max(indented, 0), scalar };
}
