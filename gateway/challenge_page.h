/* The page that solves a challenge in a browser or a web view, with its style sheet and script (gateway/assets).
 *
 *     /auth/v1/challenge/page[?origin=https://app.example.com]    solves, then tells who opened or embeds it
 *     /auth/v1/challenge/page.js                                  the same as a module: import { solve } from ...
 *
 * `origin` has to be one of cors.origins: only there does the page send what it solved, and only there may it be
 * embedded. Nothing comes from elsewhere: no third-party script, style or font.
 * Thread rule: the request's loop. */
#ifndef TIDE_GATEWAY_CHALLENGE_PAGE_H
#define TIDE_GATEWAY_CHALLENGE_PAGE_H

#include "gateway/request.h"

void challenge_page(struct request *r);

#endif
