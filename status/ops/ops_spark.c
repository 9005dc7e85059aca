#include "status/ops/ops_spark.h"

#include <math.h>

#include "status/ops/ops_text.h"

enum { HEIGHT = 40 };

static int y_of(double v, double top)
{
    return (int)lround(HEIGHT - 1 - (HEIGHT - 3) * (v / top));
}

static void add_line(struct buf *out, const double *values, double top)
{
    bool is_down = false;
    buf_add_cstr(out, "<path class=\"ln\" d=\"");
    for (unsigned i = 0; i < OPS_POINTS; i++) {
        if (isnan(values[i])) {
            is_down = false;
            continue;
        }
        buf_addf(out, "%c%u %d", is_down ? 'L' : 'M', i, y_of(values[i], top));
        if (!is_down && (i + 1 == OPS_POINTS || isnan(values[i + 1]))) {
            buf_add_cstr(out, "h1"); /* one point alone */
        }
        is_down = true;
    }
    buf_add_cstr(out, "\"/>");
}

static void add_area(struct buf *out, const double *values, double top)
{
    unsigned from = OPS_POINTS;
    buf_add_cstr(out, "<path class=\"ar\" d=\"");
    for (unsigned i = 0; i <= OPS_POINTS; i++) {
        bool has_value = i < OPS_POINTS && !isnan(values[i]);
        if (has_value && from == OPS_POINTS) {
            from = i;
            buf_addf(out, "M%u %d", i, HEIGHT);
        }
        if (has_value) {
            buf_addf(out, "L%u %d", i, y_of(values[i], top));
        } else if (from < OPS_POINTS) {
            buf_addf(out, "V%dz", HEIGHT);
            from = OPS_POINTS;
        }
    }
    buf_add_cstr(out, "\"/>");
}

void ops_add_spark(struct buf *out, const char *name, const double values[OPS_POINTS], double least,
                   const struct ops_marks *marks)
{
    double lowest = NAN, highest = NAN;
    for (unsigned i = 0; i < OPS_POINTS; i++) {
        lowest = fmin(lowest, values[i]); /* the other one, when one is NAN */
        highest = fmax(highest, values[i]);
    }
    double top = fmax(highest, least);
    buf_addf(out,
             "<svg class=\"sp\" viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" "
             "aria-label=\"%s, last 15 minutes: ",
             OPS_POINTS - 1, HEIGHT, name);
    ops_add_number(out, lowest);
    buf_add_cstr(out, " to ");
    ops_add_number(out, highest);
    buf_add_cstr(out, "\">");
    for (unsigned k = 0; k < marks->count; k++) {
        buf_addf(out, "<path class=\"mk\" d=\"M%u 0v%d\"/>", marks->at[k], HEIGHT);
    }
    if (!isnan(highest)) {
        add_area(out, values, top);
        add_line(out, values, top);
    }
    buf_add_cstr(out, "</svg>");
}
