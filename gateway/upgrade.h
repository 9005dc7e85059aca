/* The change to another program (or to settings that only a start reads) without losing a connection: SIGUSR2 or
 * `tidectl upgrade`. The running process starts its own command line again; the new process inherits the listening
 * sockets with their locks (base/http/handover.h), and takes over when it is ready.
 *
 *     old: upgrade_start -> posix_spawn, sockets inherited     new: all parts open, nothing accepted
 *          waits, at most process.upgrade                           ready -> accepts, says "ready"
 *          "ready" -> gateway_retire: ends what runs                serves
 *          "failed: why", its end, or the deadline -> goes on as if nothing had been
 *
 * Inherited descriptors rather than messages over a socket: the kernel hands over all of them or none, nobody else can
 * ask for them, and the old process sees by its child how the new one fares.
 * Workers that an operator has drained stay so in the new process. It is told of them when it is started: until it is ready,
 * and in a process that is ending, draining is refused.
 * The program is found as the shell did (argv[0]), so that a package or a link that was changed meanwhile counts.
 * Errors: upgrade_start ERR_CONFLICT while another runs or the process is ending; what goes wrong later is logged,
 * counted and told to who waits.
 * Thread rule: the control thread; upgrade_inherit in main, before there are threads. */
#ifndef TIDE_GATEWAY_UPGRADE_H
#define TIDE_GATEWAY_UPGRADE_H

#include "gateway/gateway.h"

struct control;
struct upgrade;

/* Called when the upgrade has ended: pid of the new process, or 0 and why not. */
typedef void (*upgrade_cb)(void *arg, int pid, const char *why);

struct upgrade *upgrade_new(struct control *c);
void upgrade_free(struct upgrade *u); /* a new process that is not ready yet is killed */
/* The loops run: begins to serve, at once or (inherited sockets) when ready; tells the service manager. */
void upgrade_begin(struct upgrade *u);
int upgrade_start(struct upgrade *u, struct err *err) TIDE_CHECK;
int upgrade_may_start(const struct upgrade *u, struct err *err) TIDE_CHECK; /* 0, or ERR_CONFLICT as above */
void upgrade_wait(struct upgrade *u, upgrade_cb cb, void *arg); /* after upgrade_start; one waits at most */
void upgrade_forget(struct upgrade *u, const void *arg);        /* that one no longer does; u may be NULL */

/* Reads what the process before us left in the environment into *start; nothing there is no error. */
int upgrade_inherit(struct gateway_start *start, struct err *err) TIDE_CHECK;
void upgrade_tell_failure(const struct gateway_start *start, const char *why);

#endif
