/* Time. Deadlines use the monotonic clock; the wall clock is only for token iat/exp, logs and what people read.
 *
 * Tests move time with clock_test_advance_ms; nothing else sets it.
 * Thread rule: any thread. */
#ifndef TIDE_BASE_CLOCK_H
#define TIDE_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);
uint64_t clock_mono_ns(void);
int64_t clock_wall_s(void);  /* Unix seconds */
int64_t clock_wall_ms(void); /* Unix milliseconds */

enum { CLOCK_ISO_LEN = 24, CLOCK_HTTP_LEN = 29 };
void clock_format_iso(int64_t wall_ms, char out[CLOCK_ISO_LEN + 1]);  /* 2026-11-22T03:40:26.123Z */
void clock_format_http(int64_t wall_s, char out[CLOCK_HTTP_LEN + 1]); /* IMF-fixdate, RFC 9110 5.6.7 */
int clock_parse_iso(const char *s, size_t n, int64_t *wall_ms);       /* the same form, UTC or with offset */

void clock_test_advance_ms(int64_t ms); /* both clocks, from now on */

#endif
