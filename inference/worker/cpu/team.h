/* The threads that compute one step together: a caller and its helpers, with barriers between operations.
 *
 *     team_run(fn): the helpers wake, all run fn(arg, thread), the caller returns when all are done.
 *
 * Waiting spins for a few microseconds and then sleeps on a futex, so that an idle engine costs nothing
 * and a busy one does not pay a system call per operation.
 * Thread rule: team_run by one thread at a time; team_barrier by every thread of a running fn. */
#ifndef TIDE_WORKER_CPU_TEAM_H
#define TIDE_WORKER_CPU_TEAM_H

#include "base/err.h"

struct team;
typedef void (*team_cb)(void *arg, unsigned thread); /* thread: 0 is the caller */

enum { TEAM_MAX_THREADS = 256 };

int team_new(unsigned threads, struct team **out, struct err *err) TIDE_CHECK;
void team_free(struct team *t);
unsigned team_size(const struct team *t);
void team_run(struct team *t, team_cb fn, void *arg);
void team_barrier(struct team *t);

#endif
