/* What is given up when the process comes near its limit of memory, the cheapest first. Not a guard of single buffers: each
 * of those has its own ceiling.
 *
 *     80 %  IDLE         idle connections are closed, and connections after their answer; free heap goes back
 *     90 %  CONNECTIONS  new connections are refused
 *     95 %  REQUESTS     new chats and proxied requests are answered 503; small ones still pass
 *
 * Answers that run are never cut. A step is left 5 % below where it was entered. The limit is process.memory_max, or nine
 * tenths of what the control group allows; without both there is none. Memory is what the kernel counts as resident.
 * Thread rule: the control thread; loops have the level in gateway_loop. */
#ifndef TIDE_GATEWAY_PRESSURE_H
#define TIDE_GATEWAY_PRESSURE_H

#include <stdint.h>

struct gateway;
struct pressure;

enum pressure_level {
    PRESSURE_NONE = 0,
    PRESSURE_IDLE = 1,
    PRESSURE_CONNECTIONS = 2,
    PRESSURE_REQUESTS = 3,
};

void pressure_open(struct gateway *g); /* before the loops run */
void pressure_close(struct gateway *g);
/* The level that follows from `now` at so many bytes (0: not known, it stays) of a limit (0: none). */
enum pressure_level pressure_next(enum pressure_level now, uint64_t bytes, uint64_t limit);
void pressure_count_refused(void); /* a request was */

#endif
