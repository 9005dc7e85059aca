# The libraries of the system, by room. All are Debian 12 packages (deploy/packages names them).
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

function(tide_library variable module)
  pkg_check_modules(${variable} REQUIRED IMPORTED_TARGET ${module})
endfunction()

tide_library(EVENT libevent_core)
tide_library(EVENT_PTHREADS libevent_pthreads)
tide_library(EVENT_EXTRA libevent_extra)
tide_library(OPENSSL openssl)
tide_library(MAXMINDDB libmaxminddb)
tide_library(NGHTTP2 libnghttp2)
tide_library(HIREDIS hiredis)
tide_library(PQ libpq)
tide_library(CJSON libcjson)
tide_library(SODIUM libsodium)
tide_library(YAML yaml-0.1)
tide_library(CURL libcurl)
tide_library(PCRE2 libpcre2-8)
tide_library(ZLIB zlib)
tide_library(CMOCKA cmocka)

set(TIDE_BASE_LIBS
  PkgConfig::EVENT PkgConfig::EVENT_PTHREADS PkgConfig::EVENT_EXTRA PkgConfig::OPENSSL
  PkgConfig::NGHTTP2 PkgConfig::HIREDIS PkgConfig::PQ PkgConfig::CJSON PkgConfig::SODIUM
  PkgConfig::YAML PkgConfig::MAXMINDDB Threads::Threads m)

find_library(PHONENUMBER phonenumber REQUIRED)
find_library(PROTOBUF protobuf REQUIRED)
set(TIDE_AUTH_LIBS ${PHONENUMBER} ${PROTOBUF} PkgConfig::PCRE2)
set(TIDE_WORKER_LIBS PkgConfig::PCRE2 m)
set(TIDE_STATUS_LIBS PkgConfig::CURL PkgConfig::ZLIB)
set(TIDE_GATEWAY_LIBS PkgConfig::CURL)
set(TIDE_TEST_LIBS PkgConfig::CMOCKA)
