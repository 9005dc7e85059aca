/* Log-ins of those who have an account, counted by the attack ladder's level: what the defence does to people who are
 * no attack. A code request that makes no account is one, and so is a code that is tried; not what makes an account.
 *
 *     tidegate_auth_logins_total{level="A2", step="code" | "verify", result="ok" | "wrong" | "refused" | "failed"}
 *
 * wrong: the code was; refused: by a limit, a ban or proof of work; failed: ours (5xx). Who left before the answer is not
 * counted.
 * Thread rule: logins_open the main thread, logins_count the request's loop. */
#ifndef TIDE_GATEWAY_LOGINS_H
#define TIDE_GATEWAY_LOGINS_H

struct request;

void logins_open(void);
void logins_count(const struct request *r); /* at its end; nothing when it is none */

#endif
