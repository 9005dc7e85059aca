/* What the files of checks.h share: a check, and what each of its runs does. Nobody else includes this.
 *
 *     checks.c, timer -> login_check_run, ... -> check_fetch -> a callback of that file: check_note what came,
 *     check_observe for the component, and once at the end of a run check_run_again, after which the check may be gone
 *
 * Thread rule: used only on the control thread. */
#ifndef TIDE_STATUS_CHECKS_INNER_H
#define TIDE_STATUS_CHECKS_INNER_H

#include "base/jws.h"
#include "status/checks.h"
#include "status/verdict.h"

enum check_kind {
    CHECK_LOGIN = 0,
    CHECK_LIST = 1,
    CHECK_SMS = 2,
    CHECK_MODEL = 3,
};

struct check {
    struct checks *owner;
    enum check_kind kind;
    struct loop_timer timer;
    uint64_t began_ms;  /* monotonic, of the run under way */
    enum verdict first; /* of a run with two requests */
    enum verdict noted; /* last one logged */
    char model[COMPONENT_LABEL_MAX];
    uint64_t listed_ms; /* monotonic: the gateway last listed the model */
    bool is_gone;       /* freed when its run ends */
};

struct checks {
    struct loop *loop;
    struct prober *prober;
    struct board *board;
    const struct status_probe_conf *conf;
    struct jws_keys keys;
    const struct jws_key *signer; /* NULL: no token is sent */
    struct check *items[STATUS_COMPONENTS_MAX];
    unsigned count;
    struct sms_history sms;
    bool has_signup_state;
    enum signup_state signup_state;
};

/* --- checks.c ---------------------------------------------------------------------------------- */

void check_fetch(struct check *k, struct prober_request *request, const char *path, bool with_token,
                 prober_done done);
void check_note(struct check *k, enum verdict v, const struct prober_result *r);
void check_observe(struct checks *c, enum component_kind kind, const char *label, enum verdict v);
/* The run is over: the next one is due an interval after its start. Frees a check that is gone. */
void check_run_again(struct check *k);

void checks_list_model(struct checks *c, struct str model, uint64_t mono_ms); /* with a check from now on */
void checks_mark_gone(struct checks *c, uint64_t mono_ms); /* what was not listed for long */

/* --- a run of each kind ------------------------------------------------------------------------ */

void login_check_run(struct check *k);
void chat_check_list(struct check *k);
void chat_check_run(struct check *k);
void sms_check_run(struct check *k);

#endif
