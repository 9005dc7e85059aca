/* Mobile ranges of mainland China, as a table of ours: libphonenumber's lags behind. Not an operator look-up:
 * numbers move between operators since 2019.
 *
 * Thread rule: const data. */
#ifndef TIDE_AUTH_CN_RANGES_H
#define TIDE_AUTH_CN_RANGES_H

#include "base/str.h"

enum { CN_MOBILE_DIGITS = 11 };

bool cn_mobile_is_assigned(struct str national); /* eleven digits within an assigned range */
bool cn_mobile_is_shaped(struct str national);   /* 1[3-9] and nine digits */
bool cn_mobile_is_virtual(struct str national);  /* 170, 171, 162, 165, 167 */

#endif
