/* Edits between two words: insert, delete, change, swap of neighbours (optimal string alignment). */
#include "gateway/ctl/verbs.h"

enum { WORD_MAX = 40 };

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned ctl_distance(struct str a, struct str b)
{
    unsigned rows[3][WORD_MAX + 1]; /* of a's last three letters; row i is rows[i % 3] */
    size_t an = a.n < WORD_MAX ? a.n : WORD_MAX;
    size_t bn = b.n < WORD_MAX ? b.n : WORD_MAX;
    for (unsigned j = 0; j <= bn; j++) {
        rows[0][j] = j;
    }
    for (unsigned i = 1; i <= an; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *above = rows[(i - 1) % 3];
        row[0] = i;
        for (unsigned j = 1; j <= bn; j++) {
            unsigned change = above[j - 1] + (a.p[i - 1] != b.p[j - 1] ? 1 : 0);
            row[j] = least(change, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1]) {
                row[j] = least(row[j], rows[(i - 2) % 3][j - 2] + 1);
            }
        }
    }
    return rows[an % 3][bn];
}
