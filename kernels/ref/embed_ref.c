#include "kernels/embed.h"

void embed_ref(const struct embed_params *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        for (uint32_t k = 0; k < p->table.columns; k++) {
            p->out[(size_t)i * p->table.columns + k] = p->scale * matrix_ref_value(&p->table, p->rows[i], k);
        }
    }
}
