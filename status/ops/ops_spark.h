/* A line of the last fifteen minutes as a small SVG picture, drawn from its points and readable by screen readers.
 *
 * Values of NAN leave a gap. Marks are moments (a change of policy, a move of the ladder).
 * Thread rule: pure functions that append to a buf. */
#ifndef TIDE_STATUS_OPS_SPARK_H
#define TIDE_STATUS_OPS_SPARK_H

#include "base/buf.h"
#include "status/ops/ops_history.h"

enum { OPS_MARKS = 8 };

struct ops_marks {
    unsigned count;
    unsigned at[OPS_MARKS]; /* points, 0 the oldest */
};

/* least: the top of the picture is at least this, so that next to nothing does not look like much. name: what the line
 * is, for screen readers; it is written as it is. */
void ops_add_spark(struct buf *out, const char *name, const double values[OPS_POINTS], double least,
                   const struct ops_marks *marks);

#endif
