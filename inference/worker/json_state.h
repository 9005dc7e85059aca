/* Where in a JSON text the bytes so far have led: one object, read byte by byte (RFC 8259).
 * Not the choice of tokens: json_mask.h.
 *
 * What may follow is narrower than the grammar, so that every text ends and every reader takes it: the top is an
 * object, strings are UTF-8 without \u surrogates, nesting ends at JSON_STATE_DEPTH.
 * Thread rule: plain data. */
#ifndef TIDE_WORKER_JSON_STATE_H
#define TIDE_WORKER_JSON_STATE_H

#include <stdbool.h>
#include <stdint.h>

enum { JSON_STATE_DEPTH = 64 };

enum json_place {
    JSON_AT_TOP = 0, /* before the object */
    JSON_AT_KEY_OR_END,
    JSON_AT_KEY,
    JSON_AT_COLON,
    JSON_AT_VALUE_OR_END,
    JSON_AT_VALUE,
    JSON_AT_COMMA_OR_END,
    JSON_AT_DONE,   /* the object is whole */
    JSON_AT_STRING, /* inside a string: any place from here to JSON_AT_U4 */
    JSON_AT_UTF8_1, /* one continuation byte is missing, two, three */
    JSON_AT_UTF8_2,
    JSON_AT_UTF8_3,
    JSON_AT_UTF8_E0, /* what follows these lead bytes is restricted: Unicode 15 table 3-7 */
    JSON_AT_UTF8_ED,
    JSON_AT_UTF8_F0,
    JSON_AT_UTF8_F4,
    JSON_AT_ESCAPE,
    JSON_AT_U1,
    JSON_AT_U2,
    JSON_AT_U2_BELOW_8, /* \uD8.. to \uDF.. would be half a pair */
    JSON_AT_U3,
    JSON_AT_U4,
    JSON_AT_MINUS,
    JSON_AT_ZERO,
    JSON_AT_DIGITS,
    JSON_AT_POINT,
    JSON_AT_FRACTION,
    JSON_AT_E,
    JSON_AT_E_SIGN,
    JSON_AT_EXPONENT,
    JSON_AT_WORD, /* inside true, false or null: JSON_AT_WORD + index into the words */
    JSON_AT_PLACES = JSON_AT_WORD + 16,
};

struct json_state {
    uint8_t place;  /* enum json_place */
    uint8_t depth;  /* open objects and arrays */
    bool in_key;    /* the string is a name */
    uint64_t array; /* bit d: the container at depth d + 1 is an array */
};

/* False: the byte cannot follow; the state is then unusable. */
bool json_state_push(struct json_state *s, uint8_t byte);

#endif
