/* What a program says when a signal kills it: the signal, a stack, and what the thread was busy with; then the signal
 * does what it would have done, so that there is a core and a true exit status. Not for errors that are handled.
 *
 *     crash_install (main, once) -> crash_thread_begin .. crash_thread_end around a thread's work (loop_run does it)
 *     crash_note(fn, arg): this thread's own words; fn runs inside the signal handler and may only read and crash_put
 *
 * Lines begin with "crash ", on standard error and in the program's log when that is a file. Addresses are turned into
 * places with addr2line -e PROGRAM, unless the line names the function.
 * SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT; handlers that were there before (sanitizers) run afterwards.
 * Everything here is async-signal-safe once crash_install has run. A second thread that crashes meanwhile waits; a
 * crash inside the handler kills at once.
 * Thread rule: notes and stacks belong to their thread. */
#ifndef TIDE_BASE_CRASH_H
#define TIDE_BASE_CRASH_H

#include "base/str.h"

void crash_install(const char *program); /* a literal: name for the first line */
void crash_thread_begin(void);           /* gives the thread a signal stack of its own */
void crash_thread_end(void);
void crash_note(void (*fn)(int fd, void *arg), void *arg); /* fn NULL: nothing to say */
void crash_put(int fd, struct str text);                   /* for notes */
void crash_put_number(int fd, uint64_t n);

#endif
