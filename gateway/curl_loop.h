/* libcurl's multi interface on a loop: curl tells which sockets and which timer it wants, libevent tells when. Not what
 * is asked (hooks.c).
 *
 *     curl_loop_new -> curl_loop_add(easy) -> done(CURLOPT_PRIVATE of easy, code), once -> curl_loop_remove(easy)
 *
 * Ownership: the easy handles are the caller's; all are removed before curl_loop_free.
 * Thread rule: the loop's thread; curl_loop_new and _free while it does not run. */
#ifndef TIDE_GATEWAY_CURL_LOOP_H
#define TIDE_GATEWAY_CURL_LOOP_H

#include <curl/curl.h>

#include "base/loop.h"

struct curl_loop;
struct curl_loop *curl_loop_new(struct loop *loop, void (*done)(void *private_data, CURLcode code));
void curl_loop_free(struct curl_loop *c);
void curl_loop_add(struct curl_loop *c, CURL *easy);
void curl_loop_remove(struct curl_loop *c, CURL *easy); /* also one that is under way */

#endif
