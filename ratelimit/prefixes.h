/* What counts as one source of addresses: the text of a rule's `prefixes`, "32 24x16 64 56x4 48x16".
 *
 * The prefixes without a factor make the rule itself, one of them a family at most; each one with a factor becomes a
 * rule of its own with that many times the limit and burst. 24 to 32 bits are IPv4, 48 to 128 IPv6.
 * Thread rule: pure functions. */
#ifndef TIDE_RATELIMIT_PREFIXES_H
#define TIDE_RATELIMIT_PREFIXES_H

#include <stdint.h>

enum { LIMIT_PREFIXES_MAX = 8, LIMIT_FACTOR_MAX = 65536 };

struct limit_prefix {
    uint8_t family; /* 0 both, 4, 6 */
    uint8_t bits4;  /* 24..32 */
    uint8_t bits6;  /* 48..128 */
    uint32_t factor;
    char suffix[8]; /* of the rule's name: "", "_48" */
};

/* text NULL: "32 64". family: "4", "6" or NULL, of the row. Returns how many, the rule itself first; 0: not good. */
unsigned limit_prefixes_parse(const char *text, const char *family,
                              struct limit_prefix out[LIMIT_PREFIXES_MAX]);

#endif
