/* What is wrong, in one sentence each, the worst first: what the top of the dashboard says, and which panels glow.
 * It looks at what is known now and keeps nothing.
 *
 * Thread rule: pure functions. */
#ifndef TIDE_STATUS_OPS_VERDICT_H
#define TIDE_STATUS_OPS_VERDICT_H

#include "status/ops/ops_view.h"

enum ops_level {
    OPS_CALM = 0,
    OPS_NOTE = 1,  /* good to know: a measure is in force */
    OPS_LOOK = 2,  /* worth a look now */
    OPS_BURNS = 3, /* users feel it */
};

enum ops_panel {
    OPS_PANEL_PULSE = 0,
    OPS_PANEL_SIGNUP = 1,
    OPS_PANEL_ATTACK = 2,
    OPS_PANEL_POLICY = 3,
    OPS_PANEL_SMS = 4,
    OPS_PANEL_WORKERS = 5,
    OPS_PANEL_STORES = 6,
    OPS_PANEL_PUBLIC = 7,
    OPS_PANEL_LIMITS = 8,
    OPS_PANEL_GUARD = 9, /* bans and suspicion */
    OPS_PANELS = 10,
};

enum { OPS_FINDINGS = 24, OPS_FINDING_TEXT = 160 };

struct ops_finding {
    enum ops_level level;
    enum ops_panel panel;
    char text[OPS_FINDING_TEXT]; /* plain, may hold foreign words: escape it */
};

struct ops_verdict {
    struct ops_finding
        findings[OPS_FINDINGS]; /* worst first, else in the order of the panels; more are dropped */
    unsigned count;
    enum ops_level worst;
    enum ops_level of[OPS_PANELS];
};

void ops_judge(const struct ops_view *v, struct ops_verdict *out);

#endif
