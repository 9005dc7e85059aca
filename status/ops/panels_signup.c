/* Who comes in: sign-up, what its codes cost, and the policy that decides. */
#include <math.h>
#include <stdio.h>

#include "status/ops/ops_panels.h"
#include "status/ops/ops_text.h"

/* --- sign-up ----------------------------------------------------------------------------------- */

void ops_panel_signup(const struct ops_view *v, struct buf *out)
{
    static const struct {
        const char *name;
        enum ops_count c;
        bool is_part; /* of all requests for codes: with a bar */
        char kind;
    } rows[] = {
        {"Codes asked for", OPS_CODES, false, 0},
        {"sent", OPS_CODES_SENT, true, 'a'},
        {"refused by policy", OPS_CODES_DENIED, true, 'w'},
        {"challenged", OPS_CODES_CHALLENGED, true, 'w'},
        {"limited", OPS_CODES_LIMITED, true, 'w'},
        {"held: budget", OPS_CODES_HELD, true, 'w'},
        {"failed", OPS_CODES_FAILED, true, 'b'},
        {"Signed up", OPS_SIGNED_UP, false, 0},
        {"Signed in", OPS_SIGNED_IN, false, 0},
        {"Wrong codes", OPS_WRONG_CODES, false, 0},
        {"Waiting list", OPS_WAITLISTED, false, 0},
    };
    static const char *const columns[] = {"", "", ">a minute", ">15 min", NULL};
    double all = ops_history_sum(v->history, OPS_CODES, OPS_POINTS);
    ops_panel_head(out, columns);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        double sum = ops_history_sum(v->history, rows[k].c, OPS_POINTS);
        buf_addf(out, "<tr%s><th scope=\"row\">%s</th><td class=\"m\">",
                 rows[k].is_part ? " class=\"sub\"" : "", rows[k].name);
        if (rows[k].is_part) {
            ops_panel_bar(out, sum / all, rows[k].kind);
        }
        buf_add_cstr(out, "</td>");
        ops_panel_cell_number(out, 60 * ops_history_rate(v->history, rows[k].c, OPS_MINUTE));
        ops_panel_cell_number(out, sum);
        buf_add_cstr(out, "</tr>");
    }
    ops_panel_end(out);
    double well = ops_history_sum(v->history, OPS_LOGINS_OK, OPS_POINTS);
    double logins = well + ops_history_sum(v->history, OPS_LOGINS_BAD, OPS_POINTS);
    buf_add_cstr(out, "<p class=\"s\">Log-in of who has an account succeeds: ");
    ops_add_share(out, well, logins);
    buf_add_cstr(out, "</p>");
    double waiting;
    if (ops_view_number(v, OPS_WAITING, &waiting) && waiting > 0) {
        buf_add_cstr(out, "<p class=\"s\">");
        ops_add_number(out, waiting);
        buf_add_cstr(out, " people wait.</p>");
    }
}

/* --- SMS --------------------------------------------------------------------------------------- */

static void add_budgets(const cJSON *sms, struct buf *out)
{
    static const char *const columns[] = {"Budget", "used", ">left", ">to sign-ups", NULL};
    const cJSON *item, *items = ops_json_list(sms, "budgets");
    if (cJSON_GetArraySize(items) == 0) {
        ops_panel_empty(out, "No budget is shared by all.");
        return;
    }
    ops_panel_head(out, columns);
    cJSON_ArrayForEach(item, items)
    {
        double most = ops_json_budget(item), left = ops_json_number(item, "remaining");
        double part = most > 0 ? left / most : NAN;
        ops_panel_row(out, ops_json_text(item, "rule"));
        buf_add_cstr(out, "<td class=\"m\">");
        ops_panel_bar(out, 1 - part, part < 0.1 ? 'b' : part < 0.3 ? 'w' : 'a');
        buf_add_cstr(out, "</td><td class=\"r\">");
        if (ops_json_is_true(item, "known")) {
            ops_add_share(out, left, most);
        } else {
            buf_add_cstr(out, "not known");
        }
        buf_add_cstr(out, "</td><td class=\"r\">");
        ops_add_share(out, ops_json_number(item, "signup_remaining"), most);
        buf_add_cstr(out, "</td></tr>");
    }
    ops_panel_end(out);
}

static void add_names(const cJSON *items, const char *key, unsigned most, struct buf *out)
{
    const cJSON *item;
    unsigned n = 0;
    cJSON_ArrayForEach(item, items)
    {
        if (n < most) {
            buf_add_cstr(out, n > 0 ? ", " : "");
            ops_add_text(out, ops_json_text(item, key));
        }
        n++;
    }
    if (n > most) {
        buf_addf(out, " and %u more", n - most);
    }
}

void ops_panel_sms(const struct ops_view *v, struct buf *out)
{
    buf_add_cstr(out, "<p class=\"n\">");
    ops_add_number(out, 60 * ops_history_rate(v->history, OPS_MESSAGES, OPS_MINUTE));
    buf_add_cstr(out, "<small>/min sent</small></p><p class=\"s\">");
    ops_add_number(out, ops_history_sum(v->history, OPS_MESSAGES, OPS_POINTS));
    buf_add_cstr(out, " in 15 min, ");
    ops_add_number(out, ops_history_sum(v->history, OPS_GUARDED, OPS_POINTS));
    buf_add_cstr(out, " held back by the guard</p>");
    const cJSON *sms = ops_panel_answer(v, OPS_SMS, out);
    if (!sms) {
        return;
    }
    add_budgets(sms, out);
    const cJSON *blocked = ops_json_list(sms, "blocked"), *item;
    buf_add_cstr(out, "<dl><div><dt>Blocked prefixes</dt><dd>");
    if (cJSON_GetArraySize(blocked) > 0) {
        add_names(blocked, "prefix", 6, out);
    } else {
        buf_add_cstr(out, "none");
    }
    buf_add_cstr(out, "</dd></div>");
    cJSON_ArrayForEach(item, ops_json_list(sms, "health"))
    {
        buf_add_cstr(out, "<div><dt>Provider ");
        ops_add_text(out, ops_json_text(item, "name"));
        bool is_well = strcmp(ops_json_text(item, "breaker"), "closed") == 0;
        buf_addf(out, "</dt><dd class=\"%s\">%s</dd></div>", is_well ? "ok" : "bad",
                 is_well ? "answers" : "fails, is spared");
    }
    buf_add_cstr(out, "</dl>");
}

/* --- policy ------------------------------------------------------------------------------------ */

static void add_in_force(const struct ops_view *v, const cJSON *p, struct buf *out)
{
    buf_add_cstr(out, "<p class=\"n w\">");
    ops_add_text(out, ops_json_text(p, "name"));
    buf_add_cstr(out, "<small> ");
    ops_add_text(out, ops_json_text(p, "state"));
    buf_addf(out, "</small></p><dl><div><dt>Version</dt><dd>%.0f, ", ops_json_number(p, "version"));
    ops_add_time(out, ops_json_text(p, "created_at"), v->now_ms);
    buf_add_cstr(out, "</dd></div>");
    ops_panel_fact(out, "By", ops_json_text(p, "actor"));
    ops_panel_fact(out, "Why", ops_json_text(p, "reason"));
    double percent;
    if (ops_view_number(v, OPS_RAMP_PERCENT, &percent) && percent > 0) {
        char text[32];
        snprintf(text, sizeof text, "%.0f %% of people", percent);
        ops_panel_fact(out, "Ramp", text);
    }
    buf_add_cstr(out, "</dl>");
}

void ops_panel_policy(const struct ops_view *v, struct buf *out)
{
    const cJSON *items = ops_json_list(ops_panel_answer(v, OPS_POLICY, out), "items"), *item;
    double version;
    if (!items) {
        if (ops_view_number(v, OPS_POLICY_VERSION, &version)) {
            buf_addf(out, "<p class=\"s\">Version %.0f is in force.</p>", version);
        }
        return;
    }
    cJSON_ArrayForEach(item, items)
    {
        if (ops_json_is_true(item, "in_force")) {
            add_in_force(v, item, out);
        }
    }
    buf_add_cstr(out, cJSON_GetArraySize(items) > 1 ? "<h3>Before</h3><ol class=\"log\">" : "<ol>");
    cJSON_ArrayForEach(item, items)
    {
        if (ops_json_is_true(item, "in_force")) {
            continue;
        }
        buf_add_cstr(out, "<li><span>");
        ops_add_time(out, ops_json_text(item, "created_at"), v->now_ms);
        buf_add_cstr(out, "</span> <b>");
        ops_add_text(out, ops_json_text(item, "name"));
        buf_add_cstr(out, "</b> ");
        ops_panel_cause(item, out);
        buf_add_cstr(out, "</li>");
    }
    buf_add_cstr(out, "</ol>");
}
