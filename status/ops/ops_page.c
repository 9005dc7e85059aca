#include "status/ops/ops_page.h"

#include "status/ops/ops_panels.h"
#include "status/ops/ops_text.h"
#include "status/page_parts.h"

/* Made of the files in status/ops/assets by CMake. */
extern const struct str ops_asset_css, ops_asset_js;

static const struct {
    const char *id, *title;
    void (*render)(const struct ops_view *, struct buf *);
} panels[OPS_PANELS] = {
    [OPS_PANEL_PULSE] = {"pulse", "Pulse", ops_panel_pulse},
    [OPS_PANEL_SIGNUP] = {"signup", "Sign-up", ops_panel_signup},
    [OPS_PANEL_SMS] = {"sms", "SMS", ops_panel_sms},
    [OPS_PANEL_POLICY] = {"policy", "Policy in force", ops_panel_policy},
    [OPS_PANEL_ATTACK] = {"attack", "Attack ladder", ops_panel_attack},
    [OPS_PANEL_LIMITS] = {"limits", "Limits", ops_panel_limits},
    [OPS_PANEL_GUARD] = {"guard", "Bans and suspicion", ops_panel_guard},
    [OPS_PANEL_WORKERS] = {"workers", "Workers", ops_panel_workers},
    [OPS_PANEL_STORES] = {"stores", "PostgreSQL and Redis", ops_panel_stores},
    [OPS_PANEL_PUBLIC] = {"public", "What the public is told", ops_panel_public},
};

/* --- the top ----------------------------------------------------------------------------------- */

static const struct {
    char glyph; /* of page_add_glyph */
    const char *colour;
} looks[] = {
    [OPS_CALM] = {'0', "2fb344"},
    [OPS_NOTE] = {'0', "4f7fe8"},
    [OPS_LOOK] = {'2', "e6b422"},
    [OPS_BURNS] = {'4', "dc3b30"},
};

static const char *headline(const struct ops_verdict *r)
{
    return r->worst == OPS_CALM ? "All calm" : r->worst == OPS_NOTE ? "Calm" : r->findings[0].text;
}

static void add_findings(const struct ops_verdict *r, struct buf *out)
{
    unsigned first = r->worst >= OPS_LOOK ? 1 : 0; /* the headline says it */
    if (r->count <= first) {
        return;
    }
    buf_add_cstr(out, "<ul class=\"finds\">");
    for (unsigned k = first; k < r->count; k++) {
        const struct ops_finding *f = &r->findings[k];
        buf_addf(out, "<li class=\"l%d\"><a href=\"#%s\">", (int)f->level, panels[f->panel].id);
        page_add_glyph(out, looks[f->level].glyph);
        ops_add_text(out, f->text);
        buf_add_cstr(out, "</a></li>");
    }
    buf_add_cstr(out, "</ul>");
}

static void add_top(const struct ops_view *v, const struct ops_verdict *r, struct buf *out)
{
    const struct ops_answer *a = &v->answers[OPS_METRICS];
    buf_addf(out, "<div class=\"hero l%d\"><div class=\"dot\">", (int)r->worst);
    page_add_glyph(out, looks[r->worst].glyph);
    buf_addf(out, "</div><div><h1 data-colour=\"%s\">", looks[r->worst].colour);
    ops_add_text(out, headline(r));
    buf_add_cstr(out, "</h1><p>Data as of ");
    if (a->at_ms > 0) {
        ops_add_clock(out, a->at_ms);
    } else {
        buf_add_cstr(out, "never");
    }
    if (a->trouble[0]) {
        buf_add_cstr(out, ": ");
        ops_add_text(out, a->trouble);
    }
    buf_add_cstr(out, "</p></div></div>");
    add_findings(r, out);
}

/* --- parts ------------------------------------------------------------------------------------- */

const char *ops_part_id(unsigned part)
{
    return part == 0 ? "top" : panels[part - 1].id;
}

void ops_part(const struct ops_view *v, const struct ops_verdict *r, unsigned part, struct buf *out)
{
    if (part == 0) {
        add_top(v, r, out);
        return;
    }
    buf_addf(out, "<div class=\"in l%d\"><h2>%s</h2>", (int)r->of[part - 1], panels[part - 1].title);
    panels[part - 1].render(v, out);
    buf_add_cstr(out, "</div>");
}

static void add_head(const struct ops_view *v, const struct ops_verdict *r, struct buf *out)
{
    buf_add_cstr(out, "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
    ops_add_text(out, headline(r));
    buf_add_cstr(out, " · ");
    ops_add_text(out, v->board->page.name);
    buf_add_cstr(out, "</title><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                      "<meta name=\"color-scheme\" content=\"light dark\">"
                      "<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>");
    buf_addf(out,
             "<link rel=\"icon\" href=\"data:image/svg+xml,%%3Csvg xmlns='http://www.w3.org/2000/svg' "
             "viewBox='0 0 "
             "16 16'%%3E%%3Ccircle cx='8' cy='8' r='7' fill='%%23%s'/%%3E%%3C/svg%%3E\"><style>",
             looks[r->worst].colour);
    buf_add_str(out, ops_asset_css);
    buf_add_cstr(out, "</style><script src=\"/ops.js\" defer></script></head>");
}

void ops_page(const struct ops_view *v, struct buf *out)
{
    struct ops_verdict r;
    ops_judge(v, &r);
    add_head(v, &r, out);
    buf_add_cstr(out, "<body><header><b>");
    ops_add_text(out, v->board->page.name);
    buf_add_cstr(out, "</b> operations<span id=\"live\">reloads every 5 s</span></header>"
                      "<div id=\"top\" role=\"status\">");
    ops_part(v, &r, 0, out);
    buf_add_cstr(out, "</div><main>");
    for (unsigned part = 1; part < OPS_PARTS; part++) {
        buf_addf(out, "<section id=\"%s\">", ops_part_id(part));
        ops_part(v, &r, part, out);
        buf_add_cstr(out, "</section>");
    }
    buf_add_cstr(out, "</main></body></html>\n");
}

void ops_page_style_hash(char out[64])
{
    page_hash(ops_asset_css, out);
}

struct str ops_page_script(void)
{
    return ops_asset_js;
}
