/* What holds an attack off: the ladder, limits, bans, suspicion. */
#include <math.h>

#include "status/ops/ops_panels.h"
#include "status/ops/ops_text.h"

/* --- ladder ------------------------------------------------------------------------------------ */

static void add_steps(const struct ops_view *v, struct buf *out)
{
    static const char *const steps[] = {"calm", "proof of work", "sign-up limited", "sign-up closed",
                                        "log-in hardened"};
    double level;
    bool is_known = ops_view_number(v, OPS_ATTACK_LEVEL, &level);
    buf_add_cstr(out, "<ol class=\"steps\">");
    for (int k = 0; k < 5; k++) {
        bool is_here = is_known && (int)level == k;
        buf_addf(out, "<li%s><b>A%d</b> %s</li>", is_here ? k == 0 ? " class=\"ok\"" : " class=\"on\"" : "",
                 k, steps[k]);
    }
    buf_add_cstr(out, "</ol>");
}

static void add_moves(const struct ops_view *v, struct buf *out)
{
    const cJSON *items = ops_json_list(ops_panel_answer(v, OPS_MOVES, out), "items"), *item;
    if (cJSON_GetArraySize(items) == 0) {
        ops_panel_empty(out, items ? "It has not moved yet." : "");
        return;
    }
    buf_add_cstr(out, "<ol class=\"log\">");
    cJSON_ArrayForEach(item, items)
    {
        buf_add_cstr(out, "<li><span>");
        ops_add_time(out, ops_json_text(item, "at"), v->now_ms);
        buf_add_cstr(out, "</span> <b>");
        ops_add_text(out, ops_json_text(item, "before"));
        buf_add_cstr(out, " → ");
        ops_add_text(out, ops_json_text(item, "level"));
        buf_add_cstr(out, "</b> ");
        ops_panel_cause(item, out);
        buf_add_cstr(out, "</li>");
    }
    buf_add_cstr(out, "</ol>");
}

void ops_panel_attack(const struct ops_view *v, struct buf *out)
{
    add_steps(v, out);
    const cJSON *a = ops_panel_answer(v, OPS_ATTACK, out);
    if (a) {
        buf_add_cstr(out, "<dl><div><dt>Since</dt><dd>");
        ops_add_time(out, ops_json_text(a, "since"), v->now_ms);
        buf_add_cstr(out, ", ");
        ops_add_text(out, ops_json_text(a, "mode"));
        if (ops_json_text(a, "until")[0]) {
            buf_add_cstr(out, ", until ");
            ops_add_time(out, ops_json_text(a, "until"), v->now_ms);
        }
        buf_add_cstr(out, "</dd></div>");
        ops_panel_fact(out, "Why", ops_json_text(a, "reason"));
        buf_add_cstr(out, "<div><dt>Attempts</dt><dd>");
        ops_add_number(out, ops_json_number(a, "attempts_per_min"));
        buf_add_cstr(out, " a minute, usual are ");
        ops_add_number(out, ops_json_number(a, "baseline_per_min"));
        buf_add_cstr(out, "</dd></div></dl>");
    }
    buf_add_cstr(out, "<h3>Last moves</h3>");
    add_moves(v, out);
}

/* --- tallies ----------------------------------------------------------------------------------- */

enum { TOP = 6 };

/* The most counted ones of a family in the last fifteen minutes. */
static void add_tallies(const struct ops_view *v, enum ops_family family, const char *name, const char *none,
                        struct buf *out)
{
    const char *const columns[] = {name, ">a minute", ">15 min", NULL};
    const struct ops_counts *c = &v->history->last;
    bool is_told[OPS_TALLIES] = {false};
    unsigned told = 0;
    for (; told < TOP; told++) {
        unsigned best = OPS_TALLIES;
        double most = 0;
        for (unsigned k = 0; k < c->tally_count; k++) {
            double n = ops_history_tally(v->history, k, OPS_POINTS);
            if (c->tallies[k].family == family && !is_told[k] && n > most) {
                most = n;
                best = k;
            }
        }
        if (best == OPS_TALLIES) {
            break;
        }
        if (told == 0) {
            ops_panel_head(out, columns);
        }
        is_told[best] = true;
        ops_panel_row(out, c->tallies[best].name);
        double seconds = ops_history_seconds(v->history, OPS_MINUTE);
        ops_panel_cell_number(
            out, seconds > 0 ? 60 * ops_history_tally(v->history, best, OPS_MINUTE) / seconds : NAN);
        ops_panel_cell_number(out, most);
        buf_add_cstr(out, "</tr>");
    }
    if (told > 0) {
        ops_panel_end(out);
    } else {
        ops_panel_empty(out, none);
    }
}

/* --- limits ------------------------------------------------------------------------------------ */

void ops_panel_limits(const struct ops_view *v, struct buf *out)
{
    static const char *const columns[] = {"Refused most", "rule", ">times", NULL};
    add_tallies(v, OPS_BY_RULE, "Rule", "No rule refused anybody in 15 minutes.", out);
    const cJSON *items = ops_json_list(ops_panel_answer(v, OPS_TOP, out), "items"), *item;
    if (cJSON_GetArraySize(items) == 0) {
        return;
    }
    ops_panel_head(out, columns);
    cJSON_ArrayForEach(item, items)
    {
        ops_panel_row(out, ops_json_text(item, "source"));
        ops_panel_cell_text(out, ops_json_text(item, "rule"));
        ops_panel_cell_number(out, ops_json_number(item, "refused"));
        buf_add_cstr(out, "</tr>");
    }
    ops_panel_end(out);
}

/* --- bans and suspicion ------------------------------------------------------------------------ */

void ops_panel_guard(const struct ops_view *v, struct buf *out)
{
    double entries;
    buf_add_cstr(out, "<p class=\"s\">Bans and allowances in force: ");
    ops_add_number(out, ops_view_number(v, OPS_BAN_ENTRIES, &entries) ? entries : NAN);
    buf_add_cstr(out, "</p>");
    add_tallies(v, OPS_BY_BAN, "Turned away by", "Nobody was turned away in 15 minutes.", out);
    double allow = ops_history_sum(v->history, OPS_VERDICTS_ALLOW, OPS_POINTS);
    double challenge = ops_history_sum(v->history, OPS_VERDICTS_CHALLENGE, OPS_POINTS);
    double deny = ops_history_sum(v->history, OPS_VERDICTS_DENY, OPS_POINTS);
    double all = allow + challenge + deny;
    if (all > 0) {
        buf_add_cstr(out, "<h3>Suspicion</h3><p class=\"s\">allow ");
        ops_add_share(out, allow, all);
        buf_add_cstr(out, ", challenge ");
        ops_add_share(out, challenge, all);
        buf_add_cstr(out, ", deny ");
        ops_add_share(out, deny, all);
        buf_add_cstr(out, "</p>");
        add_tallies(v, OPS_BY_SIGNAL, "Signal", "No signal spoke.", out);
    }
}
