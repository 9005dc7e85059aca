/* Sums of money as whole millionths of whatever currency the operator counts in. Not a currency, not a rounding rule.
 *
 * Errors: false, and *out is left alone: not a decimal number, more than six decimals, more than a million.
 * Thread rule: pure functions. */
#ifndef TIDE_BASE_MONEY_H
#define TIDE_BASE_MONEY_H

#include "base/str.h"

enum { MONEY_ONE = 1000000, MONEY_TEXT_MAX = 24 };

bool money_parse(struct str text, uint64_t *millionths);          /* "50", "0.0045" */
void money_format(uint64_t millionths, char out[MONEY_TEXT_MAX]); /* "0.0045", as short as it can be */

#endif
