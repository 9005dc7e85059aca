#include "inference/worker/json_state.h"

#include <string.h>

static const char words[] = "rue\0alse\0ull"; /* behind the first letter, each with its end */
enum { WORD_RUE = 0, WORD_ALSE = 4, WORD_ULL = 9 };

static bool is_space(uint8_t b)
{
    return b == ' ' || b == '\t' || b == '\n' || b == '\r';
}

static bool is_digit(uint8_t b)
{
    return b >= '0' && b <= '9';
}

static bool is_hex(uint8_t b)
{
    return is_digit(b) || (b >= 'a' && b <= 'f') || (b >= 'A' && b <= 'F');
}

static bool go(struct json_state *s, unsigned place)
{
    s->place = (uint8_t)place;
    return true;
}

static bool go_if(struct json_state *s, bool may, unsigned place)
{
    s->place = (uint8_t)place;
    return may;
}

static bool in_array(const struct json_state *s)
{
    return s->depth > 0 && (s->array >> (s->depth - 1) & 1);
}

static bool open(struct json_state *s, bool array)
{
    if (s->depth == JSON_STATE_DEPTH) {
        return false;
    }
    uint64_t bit = 1ULL << s->depth;
    s->array = array ? s->array | bit : s->array & ~bit;
    s->depth++;
    return go(s, array ? JSON_AT_VALUE_OR_END : JSON_AT_KEY_OR_END);
}

static bool close(struct json_state *s, uint8_t b)
{
    if (b != (in_array(s) ? ']' : '}')) {
        return false;
    }
    s->depth--;
    return go(s, s->depth ? JSON_AT_COMMA_OR_END : JSON_AT_DONE);
}

static bool begin_value(struct json_state *s, uint8_t b)
{
    switch (b) {
    case '{':
        return open(s, false);
    case '[':
        return open(s, true);
    case '"':
        s->in_key = false;
        return go(s, JSON_AT_STRING);
    case '-':
        return go(s, JSON_AT_MINUS);
    case '0':
        return go(s, JSON_AT_ZERO);
    case 't':
        return go(s, JSON_AT_WORD + WORD_RUE);
    case 'f':
        return go(s, JSON_AT_WORD + WORD_ALSE);
    case 'n':
        return go(s, JSON_AT_WORD + WORD_ULL);
    default:
        return go_if(s, is_digit(b), JSON_AT_DIGITS);
    }
}

/* Between the tokens of the grammar. */
static bool push_structure(struct json_state *s, uint8_t b)
{
    if (is_space(b)) {
        return true;
    }
    switch ((enum json_place)s->place) {
    case JSON_AT_TOP:
        return b == '{' && open(s, false);
    case JSON_AT_KEY_OR_END:
    case JSON_AT_KEY:
        if (b == '}' && s->place == JSON_AT_KEY_OR_END) {
            return close(s, b);
        }
        s->in_key = true;
        return go_if(s, b == '"', JSON_AT_STRING);
    case JSON_AT_COLON:
        return go_if(s, b == ':', JSON_AT_VALUE);
    case JSON_AT_VALUE_OR_END:
        return b == ']' ? close(s, b) : begin_value(s, b);
    case JSON_AT_VALUE:
        return begin_value(s, b);
    case JSON_AT_COMMA_OR_END:
        return b == ',' ? go(s, in_array(s) ? JSON_AT_VALUE : JSON_AT_KEY) : close(s, b);
    default:
        return false; /* JSON_AT_DONE */
    }
}

static bool begin_utf8(struct json_state *s, uint8_t b)
{
    switch (b) {
    case 0xE0:
        return go(s, JSON_AT_UTF8_E0);
    case 0xED:
        return go(s, JSON_AT_UTF8_ED);
    case 0xF0:
        return go(s, JSON_AT_UTF8_F0);
    case 0xF4:
        return go(s, JSON_AT_UTF8_F4);
    default:
        break;
    }
    if (b >= 0xC2 && b <= 0xDF) {
        return go(s, JSON_AT_UTF8_1);
    }
    return go_if(s, b >= 0xE1 && b <= 0xF3, b <= 0xEF ? JSON_AT_UTF8_2 : JSON_AT_UTF8_3);
}

static bool push_utf8(struct json_state *s, uint8_t b)
{
    bool continues = b >= 0x80 && b <= 0xBF;
    switch ((enum json_place)s->place) {
    case JSON_AT_UTF8_1:
        return go_if(s, continues, JSON_AT_STRING);
    case JSON_AT_UTF8_2:
        return go_if(s, continues, JSON_AT_UTF8_1);
    case JSON_AT_UTF8_3:
        return go_if(s, continues, JSON_AT_UTF8_2);
    case JSON_AT_UTF8_E0:
        return go_if(s, continues && b >= 0xA0, JSON_AT_UTF8_1);
    case JSON_AT_UTF8_ED:
        return go_if(s, continues && b <= 0x9F, JSON_AT_UTF8_1);
    case JSON_AT_UTF8_F0:
        return go_if(s, continues && b >= 0x90, JSON_AT_UTF8_2);
    default: /* JSON_AT_UTF8_F4 */
        return go_if(s, continues && b <= 0x8F, JSON_AT_UTF8_2);
    }
}

static bool push_escape(struct json_state *s, uint8_t b)
{
    switch ((enum json_place)s->place) {
    case JSON_AT_ESCAPE:
        return b == 'u' ? go(s, JSON_AT_U1) : go_if(s, b && strchr("\"\\/bfnrt", b) != NULL, JSON_AT_STRING);
    case JSON_AT_U1:
        return go_if(s, is_hex(b), b == 'd' || b == 'D' ? JSON_AT_U2_BELOW_8 : JSON_AT_U2);
    case JSON_AT_U2_BELOW_8:
        return go_if(s, b >= '0' && b <= '7', JSON_AT_U3);
    case JSON_AT_U2:
        return go_if(s, is_hex(b), JSON_AT_U3);
    case JSON_AT_U3:
        return go_if(s, is_hex(b), JSON_AT_U4);
    default: /* JSON_AT_U4 */
        return go_if(s, is_hex(b), JSON_AT_STRING);
    }
}

static bool push_string(struct json_state *s, uint8_t b)
{
    if (b == '"') {
        return go(s, s->in_key ? JSON_AT_COLON : JSON_AT_COMMA_OR_END);
    }
    if (b == '\\') {
        return go(s, JSON_AT_ESCAPE);
    }
    return b < 0x80 ? b >= 0x20 : begin_utf8(s, b);
}

static bool end_number(struct json_state *s, uint8_t b)
{
    s->place = JSON_AT_COMMA_OR_END;
    return push_structure(s, b);
}

static bool push_number(struct json_state *s, uint8_t b)
{
    bool digit = is_digit(b);
    bool e = b == 'e' || b == 'E';
    switch ((enum json_place)s->place) {
    case JSON_AT_MINUS:
        return go_if(s, digit, b == '0' ? JSON_AT_ZERO : JSON_AT_DIGITS);
    case JSON_AT_ZERO:
    case JSON_AT_DIGITS:
        if (b == '.') {
            return go(s, JSON_AT_POINT);
        }
        if (e) {
            return go(s, JSON_AT_E);
        }
        return digit ? s->place == JSON_AT_DIGITS : end_number(s, b);
    case JSON_AT_POINT:
        return go_if(s, digit, JSON_AT_FRACTION);
    case JSON_AT_FRACTION:
        return digit || (e ? go(s, JSON_AT_E) : end_number(s, b));
    case JSON_AT_E:
        return b == '+' || b == '-' ? go(s, JSON_AT_E_SIGN) : go_if(s, digit, JSON_AT_EXPONENT);
    case JSON_AT_E_SIGN:
        return go_if(s, digit, JSON_AT_EXPONENT);
    default: /* JSON_AT_EXPONENT */
        return digit || end_number(s, b);
    }
}

static bool push_word(struct json_state *s, uint8_t b)
{
    unsigned at = (unsigned)s->place - JSON_AT_WORD;
    if (b == 0 || words[at] != (char)b) {
        return false;
    }
    return go(s, words[at + 1] ? s->place + 1U : JSON_AT_COMMA_OR_END);
}

bool json_state_push(struct json_state *s, uint8_t byte)
{
    if (s->place <= JSON_AT_DONE) {
        return push_structure(s, byte);
    }
    if (s->place == JSON_AT_STRING) {
        return push_string(s, byte);
    }
    if (s->place <= JSON_AT_UTF8_F4) {
        return push_utf8(s, byte);
    }
    if (s->place <= JSON_AT_U4) {
        return push_escape(s, byte);
    }
    return s->place <= JSON_AT_EXPONENT ? push_number(s, byte) : push_word(s, byte);
}
