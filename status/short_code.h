/* The 12-character names [a-z0-9] that Statuspage clients expect for pages, components and
 * incidents.
 *
 * A code made from a seed is the same in every process and after every restart; a drawn one is not
 * guessable from another. Neither is a secret. Thread rule: pure functions. */
#ifndef TIDE_STATUS_SHORT_CODE_H
#define TIDE_STATUS_SHORT_CODE_H

#include <stdbool.h>

#include "base/str.h"

enum { SHORT_CODE_LEN = 12 };

void short_code_of(struct str seed, char out[SHORT_CODE_LEN + 1]);
void short_code_draw(char out[SHORT_CODE_LEN + 1]);
bool short_code_is_valid(struct str s);

#endif
