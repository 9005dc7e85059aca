/* tidectl policy edit: the document in force in the operator's editor, looked at, sent. The text is in a file of its own
 * that is removed only once the gateway has taken it, or when nothing was changed.
 *
 * Thread rule: one thread. */
#ifndef TIDE_GATEWAY_CTL_EDIT_H
#define TIDE_GATEWAY_CTL_EDIT_H

struct ctl;

int ctl_policy_edit(const struct ctl *c);

#endif
