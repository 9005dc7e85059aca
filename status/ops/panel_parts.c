#include <math.h>

#include "base/clock.h"
#include "status/ops/ops_panels.h"
#include "status/ops/ops_text.h"

enum { OLD_MS = 60000 };

const cJSON *ops_panel_answer(const struct ops_view *v, enum ops_source s, struct buf *out)
{
    const struct ops_answer *a = &v->answers[s];
    bool is_old = a->trouble[0] || v->now_ms - a->at_ms > OLD_MS;
    if (!a->json) {
        buf_add_cstr(out, "<p class=\"old\">Not known");
    } else if (is_old) {
        buf_add_cstr(out, "<p class=\"old\">Data as of ");
        ops_add_clock(out, a->at_ms);
    }
    if (!a->json || is_old) {
        buf_add_cstr(out, a->trouble[0] ? ": " : "");
        ops_add_text(out, a->trouble);
        buf_add_cstr(out, "</p>");
    }
    return a->json;
}

void ops_panel_empty(struct buf *out, const char *text)
{
    buf_addf(out, "<p class=\"none\">%s</p>", text);
}

void ops_panel_cause(const cJSON *change, struct buf *out)
{
    ops_add_text(out, ops_json_text(change, "reason"));
    buf_add_cstr(out, " <i>");
    ops_add_text(out, ops_json_text(change, "actor"));
    buf_add_cstr(out, "</i>");
}

void ops_panel_head(struct buf *out, const char *const *columns)
{
    buf_add_cstr(out, "<table><thead><tr>");
    for (unsigned k = 0; columns[k]; k++) {
        bool is_number = columns[k][0] == '>';
        buf_addf(out, "<th scope=\"col\"%s>%s</th>", is_number ? " class=\"r\"" : "", columns[k] + is_number);
    }
    buf_add_cstr(out, "</tr></thead><tbody>");
}

void ops_panel_end(struct buf *out)
{
    buf_add_cstr(out, "</tbody></table>");
}

void ops_panel_cell_text(struct buf *out, const char *text)
{
    buf_add_cstr(out, "<td>");
    ops_add_text(out, text);
    buf_add_cstr(out, "</td>");
}

void ops_panel_cell_number(struct buf *out, double v)
{
    buf_add_cstr(out, "<td class=\"r\">");
    ops_add_number(out, v);
    buf_add_cstr(out, "</td>");
}

void ops_panel_row(struct buf *out, const char *name)
{
    buf_add_cstr(out, "<tr><th scope=\"row\">");
    ops_add_text(out, name);
    buf_add_cstr(out, "</th>");
}

void ops_panel_bar(struct buf *out, double part, char kind)
{
    double of = isnan(part) || part < 0 ? 0 : part > 1 ? 1 : part;
    buf_addf(out,
             "<svg class=\"bar %c\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\">"
             "<rect width=\"100\" height=\"6\"/><rect class=\"on\" width=\"%.1f\" height=\"6\"/></svg>",
             kind, 100 * of);
}

void ops_panel_fact(struct buf *out, const char *name, const char *text)
{
    buf_addf(out, "<div><dt>%s</dt><dd>", name);
    ops_add_text(out, text);
    buf_add_cstr(out, "</dd></div>");
}

/* --- marks ------------------------------------------------------------------------------------- */

static void add_marks(const struct ops_view *v, const cJSON *items, const char *key, struct ops_marks *marks)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, items)
    {
        const char *iso = ops_json_text(item, key);
        int64_t at_ms;
        if (clock_parse_iso(iso, strlen(iso), &at_ms) != 0 || marks->count == OPS_MARKS) {
            continue;
        }
        int64_t ago = (v->now_ms - at_ms) / OPS_POINT_MS;
        if (ago >= 0 && ago < OPS_POINTS) {
            marks->at[marks->count++] = (unsigned)(OPS_POINTS - 1 - ago);
        }
    }
}

struct ops_marks ops_panel_marks(const struct ops_view *v)
{
    struct ops_marks marks = {.count = 0};
    add_marks(v, ops_json_list(v->answers[OPS_MOVES].json, "items"), "at", &marks);
    add_marks(v, ops_json_list(v->answers[OPS_POLICY].json, "items"), "created_at", &marks);
    return marks;
}
