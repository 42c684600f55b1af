// SPDX-License-Identifier: Apache-2.0
//
// One table for both parsers: what a client sends, and what is made of it. Each row is fed whole, byte by byte, and cut
// in two at every place, and must come out the same.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "record.h"

enum { MAX_HEADER_BYTES = 1024 };

struct row {
    const char *name;
    struct text sent;
    const char *expected;
};

#define H11 "Host: loom\r\n"

static const struct row rows[] = {
    // Lawful.
    {"simple", TEXT("GET / HTTP/1.1\r\nHost: loom\r\n\r\n"), "GET / 0 end\n"},
    {"HTTP/1.0 closes", TEXT("GET / HTTP/1.0\r\n\r\n"), "GET / 0 close end\n"},
    {"HTTP/1.0 keeps when asked", TEXT("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), "GET / 0 end\n"},
    {"close in a list", TEXT("GET / HTTP/1.1\r\n" H11 "Connection: foo , CLOSE\r\n\r\n"), "GET / 0 close end\n"},
    {"close beats keep-alive", TEXT("GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n"),
     "GET / 0 close end\n"},
    {"closely is not close", TEXT("GET / HTTP/1.1\r\n" H11 "Connection: closely\r\n\r\n"), "GET / 0 end\n"},
    {"query", TEXT("HEAD /a/b?c=d?e HTTP/1.1\r\n" H11 "\r\n"), "HEAD /a/b?c=d?e 0 end\n"},
    {"nothing is decoded", TEXT("GET /%2Fa//../b HTTP/1.1\r\n" H11 "\r\n"), "GET /%2Fa//../b 0 end\n"},
    {"body", TEXT("POST / HTTP/1.1\r\n" H11 "Content-Length: 5\r\n\r\nhello"), "POST / 5 [hello] end\n"},
    {"length 0", TEXT("POST / HTTP/1.1\r\n" H11 "Content-Length: 0\r\n\r\n"), "POST / 0 end\n"},
    {"leading zeros", TEXT("POST / HTTP/1.1\r\n" H11 "Content-Length: 00002\r\n\r\nhi"), "POST / 2 [hi] end\n"},
    {"GET with a body", TEXT("GET / HTTP/1.1\r\n" H11 "Content-Length: 2\r\n\r\nhi"), "GET / 2 [hi] end\n"},
    {"pipelined", TEXT("POST /1 HTTP/1.1\r\n" H11 "Content-Length: 2\r\n\r\nhiGET /2 HTTP/1.1\r\n" H11 "\r\n"),
     "POST /1 2 [hi] end\nGET /2 0 end\n"},
    {"a CRLF before the request", TEXT("\r\nGET / HTTP/1.1\r\n" H11 "\r\n"), "GET / 0 end\n"},
    {"a CRLF between requests", TEXT("GET /1 HTTP/1.1\r\n" H11 "\r\n\r\nGET /2 HTTP/1.1\r\n" H11 "\r\n"),
     "GET /1 0 end\nGET /2 0 end\n"},
    {"headers that Loom reads",
     TEXT("POST / HTTP/1.1\r\n" H11 "CONTENT-TYPE:  application/json \t\r\nauthorization: Bearer x\r\n"
          "X-Spip-ID:vps-1\r\nContent-Encoding: gzip\r\n\r\n"),
     "POST / 0 0=application/json 1=Bearer x 2=vps-1 3=gzip end\n"},
    {"repeated headers: the first counts",
     TEXT("POST / HTTP/1.1\r\n" H11 "Content-Type: a\r\nContent-Type: b\r\nX-Spip-ID: 1\r\nX-Spip-ID: 1\r\n"
          "Authorization: c\r\nAuthorization:\r\nContent-Encoding:\r\nContent-Encoding: x\r\n\r\n"),
     "POST / 0 0=a 1=c 2=1 repeated=15 end\n"},
    {"empty values", TEXT("GET / HTTP/1.1\r\nHost:\r\nA:\r\nB: \r\nC:\t\r\n\r\n"), "GET / 0 end\n"},
    {"obs-text in a value", TEXT("GET / HTTP/1.1\r\n" H11 "X-Spip-ID: caf\xc3\xa9\r\n\r\n"),
     "GET / 0 2=caf\xc3\xa9 end\n"},
    {"odd names are tokens", TEXT("GET / HTTP/1.1\r\n" H11 "!#$%&'*+-.^_`|~09: x\r\n\r\n"), "GET / 0 end\n"},
    {"100-continue", TEXT("POST / HTTP/1.1\r\n" H11 "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\nhi"),
     "POST / 2 expect [hi] end\n"},
    {"100-continue in HTTP/1.0 is ignored",
     TEXT("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"), "POST / 1 close [x] end\n"},
    {"another Expect is ignored", TEXT("POST / HTTP/1.1\r\n" H11 "Expect: tea\r\n\r\n"), "POST / 0 end\n"},
    {"Upgrade is ignored",
     TEXT("POST / HTTP/1.1\r\n" H11 "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi"),
     "POST / 2 [hi] end\n"},
    {"Upgrade without a body",
     TEXT("GET /1 HTTP/1.1\r\n" H11 "Connection: upgrade\r\nUpgrade: websocket\r\n\r\nGET /2 HTTP/1.1\r\n" H11 "\r\n"),
     "GET /1 0 end\nGET /2 0 end\n"},
    {"CONNECT closes", TEXT("CONNECT loom:443 HTTP/1.1\r\n" H11 "\r\n"), "OTHER loom:443 0 close end\n"},
    {"OPTIONS *", TEXT("OPTIONS * HTTP/1.1\r\n" H11 "\r\n"), "OTHER * 0 end\n"},
    {"a method that no parser knows", TEXT("BREW / HTTP/1.1\r\n" H11 "Content-Length: 2\r\n\r\nhi"),
     "OTHER / 2 [hi] end\n"},
    {"methods have a case", TEXT("post / HTTP/1.1\r\n" H11 "\r\n"), "OTHER / 0 end\n"},
    {"absolute form", TEXT("GET http://loom:80/a?b HTTP/1.1\r\n" H11 "\r\n"), "GET /a?b 0 end\n"},
    {"absolute form, no path", TEXT("GET HTTPS://[::1]?b HTTP/1.1\r\n" H11 "\r\n"), "GET /?b 0 end\n"},
    {"Host with port", TEXT("GET / HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\n\r\n"), "GET / 0 end\n"},

    // Chunked.
    {"chunked", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3\r\nyou\r\n0\r\n\r\n"),
     "POST / chunked [hiyou] end\n"},
    {"chunked, empty", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"),
     "POST / chunked end\n"},
    {"chunk sizes in hex",
     TEXT("POST / HTTP/1.1\r\n" H11
          "Transfer-Encoding: chunked\r\n\r\n00a\r\n0123456789\r\nB\r\n0123456789a\r\n000\r\n\r\n"),
     "POST / chunked [01234567890123456789a] end\n"},
    {"chunk data is not framing",
     TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n5\r\n\r\n0\r\n\r\n0\r\n\r\n"),
     "POST / chunked [\r\n0\r\n] end\n"},
    {"extensions are dropped",
     TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n2;a=b;c=\"d;\"\r\nhi\r\n0;e\r\n\r\n"),
     "POST / chunked [hi] end\n"},
    {"trailers are dropped",
     TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Spip-ID: evil\r\n"
          "Content-Length: 9\r\nA:\r\n\r\nGET / HTTP/1.1\r\n" H11 "\r\n"),
     "POST / chunked [hi] end\nGET / 0 end\n"},

    // Content-Length and Transfer-Encoding.
    {"CL with TE", TEXT("POST / HTTP/1.1\r\n" H11 "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     "400 Content-Length with Transfer-Encoding\n"},
    {"TE with CL", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
     "400 Content-Length with Transfer-Encoding\n"},
    {"CL twice, the same", TEXT("POST / HTTP/1.1\r\n" H11 "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi"),
     "400 repeated Content-Length\n"},
    {"CL as a list", TEXT("POST / HTTP/1.1\r\n" H11 "Content-Length: 5, 5\r\n\r\nhello"),
     "400 invalid Content-Length\n"},
    {"CL with a plus", TEXT("POST / HTTP/1.1\r\n" H11 "Content-Length: +5\r\n\r\nhello"),
     "400 invalid Content-Length\n"},
    {"CL negative", TEXT("POST / HTTP/1.1\r\n" H11 "Content-Length: -1\r\n\r\n"), "400 invalid Content-Length\n"},
    {"CL empty", TEXT("POST / HTTP/1.1\r\n" H11 "Content-Length:\r\n\r\n"), "400 invalid Content-Length\n"},
    {"CL in hex", TEXT("POST / HTTP/1.1\r\n" H11 "Content-Length: 0x5\r\n\r\nhello"), "400 invalid Content-Length\n"},
    {"CL with a space within", TEXT("POST / HTTP/1.1\r\n" H11 "Content-Length: 1 0\r\n\r\n"),
     "400 invalid Content-Length\n"},
    {"CL with a space behind", TEXT("POST / HTTP/1.1\r\n" H11 "Content-Length: 5 \r\n\r\nhello"),
     "400 invalid Content-Length\n"},
    {"CL beyond 2^63", TEXT("POST / HTTP/1.1\r\n" H11 "Content-Length: 9223372036854775808\r\n\r\n"),
     "400 invalid Content-Length\n"},
    {"CL beyond 2^64", TEXT("POST / HTTP/1.1\r\n" H11 "Content-Length: 18446744073709551621\r\n\r\n"),
     "400 invalid Content-Length\n"},
    {"TE gzip", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: gzip\r\n\r\n"), "400 unknown Transfer-Encoding\n"},
    {"TE identity", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: identity\r\n\r\n"),
     "400 unknown Transfer-Encoding\n"},
    {"TE gzip, chunked", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
     "400 unknown Transfer-Encoding\n"},
    {"TE chunked, chunked", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
     "400 unknown Transfer-Encoding\n"},
    {"TE twice",
     TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     "400 repeated Transfer-Encoding\n"},
    {"TE hidden by a tab",
     TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding:\x0b"
          "chunked\r\n\r\n0\r\n\r\n"),
     "400 invalid character in a header\n"},
    {"TE with a space behind", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n"),
     "400 unknown Transfer-Encoding\n"},
    {"a name that begins like TE", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding-X: chunked\r\n\r\n"),
     "400 invalid header name\n"},
    {"a name that begins like CL", TEXT("POST / HTTP/1.1\r\n" H11 "Content-Length-X: 5\r\n\r\n"), "POST / 0 end\n"},
    {"TE empty", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding:\r\n\r\n"), "400 unknown Transfer-Encoding\n"},
    {"TE in HTTP/1.0", TEXT("POST / HTTP/1.0\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     "400 Transfer-Encoding in HTTP/1.0\n"},

    // Header lines.
    {"space after the name", TEXT("GET / HTTP/1.1\r\nHost : loom\r\n\r\n"), "400 invalid header name\n"},
    {"tab after the name", TEXT("GET / HTTP/1.1\r\n" H11 "A\t: b\r\n\r\n"), "400 invalid header name\n"},
    {"space in the name", TEXT("GET / HTTP/1.1\r\n" H11 "A b: c\r\n\r\n"), "400 invalid header name\n"},
    {"no name", TEXT("GET / HTTP/1.1\r\n" H11 ": c\r\n\r\n"), "400 invalid header line\n"},
    {"no colon", TEXT("GET / HTTP/1.1\r\n" H11 "abc\r\n\r\n"), "400 invalid header line\n"},
    {"obs-fold", TEXT("GET / HTTP/1.1\r\n" H11 "A: b\r\n c\r\n\r\n"), "400 folded header line\n"},
    {"obs-fold with a tab", TEXT("GET / HTTP/1.1\r\n" H11 "A: b\r\n\tc\r\n\r\n"), "400 folded header line\n"},
    {"space before the first header", TEXT("GET / HTTP/1.1\r\n Host: loom\r\n\r\n"), "400 folded header line\n"},
    {"bare LF after the request line", TEXT("GET / HTTP/1.1\nHost: loom\r\n\r\n"), "400 bare LF\n"},
    {"bare LF after a header", TEXT("GET / HTTP/1.1\r\nHost: loom\n\r\n"), "400 bare LF\n"},
    {"bare LF at the end", TEXT("GET / HTTP/1.1\r\nHost: loom\r\n\n"), "400 bare LF\n"},
    {"bare LF throughout", TEXT("GET / HTTP/1.1\nHost: loom\n\n"), "400 bare LF\n"},
    {"bare LF first", TEXT("\nGET / HTTP/1.1\r\n" H11 "\r\n"), "400 bare LF\n"},
    {"bare CR in a value", TEXT("GET / HTTP/1.1\r\n" H11 "A: b\rC: d\r\n\r\n"), "400 invalid character in a header\n"},
    {"two CRs", TEXT("GET / HTTP/1.1\r\n" H11 "A: b\r\r\n\r\n"), "400 invalid character in a header\n"},
    {"NUL in a value", TEXT("GET / HTTP/1.1\r\n" H11 "A: b\0c\r\n\r\n"), "400 invalid character in a header\n"},
    {"ESC in a value", TEXT("GET / HTTP/1.1\r\n" H11 "A: \x1b[m\r\n\r\n"), "400 invalid character in a header\n"},
    {"DEL in a value", TEXT("GET / HTTP/1.1\r\n" H11 "A: \x7f\r\n\r\n"), "400 invalid character in a header\n"},
    {"NUL in a name", TEXT("GET / HTTP/1.1\r\n" H11 "A\0: b\r\n\r\n"), "400 invalid header name\n"},
    {"no ASCII in a name", TEXT("GET / HTTP/1.1\r\n" H11 "\xc3\xa9: b\r\n\r\n"), "400 invalid header name\n"},
    {"no Host", TEXT("GET / HTTP/1.1\r\n\r\n"), "400 no Host\n"},
    {"two Hosts", TEXT("GET / HTTP/1.1\r\n" H11 H11 "\r\n"), "400 repeated Host\n"},
    {"two Hosts in HTTP/1.0", TEXT("GET / HTTP/1.0\r\n" H11 H11 "\r\n"), "400 repeated Host\n"},
    {"Host with a space", TEXT("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), "400 invalid Host\n"},
    {"Host with a user", TEXT("GET / HTTP/1.1\r\nHost: u@loom\r\n\r\n"), "400 invalid Host\n"},
    {"Host with a path", TEXT("GET / HTTP/1.1\r\nHost: loom/x\r\n\r\n"), "400 invalid Host\n"},
    {"Host with an odd port", TEXT("GET / HTTP/1.1\r\nHost: loom:80x\r\n\r\n"), "400 invalid Host\n"},
    {"Host with half a bracket", TEXT("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"), "400 invalid Host\n"},

    // Request lines.
    {"HTTP/0.9", TEXT("GET /\r\n\r\n"), "400 invalid request line\n"},
    {"HTTP/1.2", TEXT("GET / HTTP/1.2\r\n" H11 "\r\n"), "400 unsupported HTTP version\n"},
    {"HTTP/2.0", TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "400 unsupported HTTP version\n"},
    {"HTTP/1.9", TEXT("GET / HTTP/1.9\r\n" H11 "\r\n"), "400 unsupported HTTP version\n"},
    {"HTTP/0.9 by name", TEXT("GET / HTTP/0.9\r\n" H11 "\r\n"), "400 unsupported HTTP version\n"},
    {"HTTP/1.10", TEXT("GET / HTTP/1.10\r\n" H11 "\r\n"), "400 invalid request line\n"},
    {"HTTP/01.1", TEXT("GET / HTTP/01.1\r\n" H11 "\r\n"), "400 invalid request line\n"},
    {"http/1.1", TEXT("GET / http/1.1\r\n" H11 "\r\n"), "400 unsupported HTTP version\n"},
    {"another protocol", TEXT("GET / ICE/1.0\r\n" H11 "\r\n"), "400 invalid request line\n"},
    {"two spaces before the target", TEXT("GET  / HTTP/1.1\r\n" H11 "\r\n"), "400 invalid request target\n"},
    {"two spaces after the target", TEXT("GET /  HTTP/1.1\r\n" H11 "\r\n"), "400 invalid request line\n"},
    {"space at the end", TEXT("GET / HTTP/1.1 \r\n" H11 "\r\n"), "400 invalid request line\n"},
    {"space at the begin", TEXT(" GET / HTTP/1.1\r\n" H11 "\r\n"), "400 invalid request line\n"},
    {"tab for a space", TEXT("GET\t/\tHTTP/1.1\r\n" H11 "\r\n"), "400 invalid request line\n"},
    {"a CRLF too many", TEXT("\r\n\r\nGET / HTTP/1.1\r\n" H11 "\r\n"), "400 invalid request line\n"},
    {"not a method", TEXT("G(T / HTTP/1.1\r\n" H11 "\r\n"), "400 invalid method\n"},
    {"NUL in the method", TEXT("GE\0T / HTTP/1.1\r\n" H11 "\r\n"), "400 invalid method\n"},
    {"no slash", TEXT("GET a HTTP/1.1\r\n" H11 "\r\n"), "400 invalid request target\n"},
    {"fragment", TEXT("GET /#a HTTP/1.1\r\n" H11 "\r\n"), "400 invalid request target\n"},
    {"control character in the target", TEXT("GET /\x01 HTTP/1.1\r\n" H11 "\r\n"), "400 invalid request target\n"},
    {"not ASCII in the target", TEXT("GET /\xc3\xa9 HTTP/1.1\r\n" H11 "\r\n"), "400 invalid request target\n"},
    {"another scheme", TEXT("GET ftp://loom/ HTTP/1.1\r\n" H11 "\r\n"), "400 invalid request target\n"},
    {"user in the target", TEXT("GET http://u@loom/ HTTP/1.1\r\n" H11 "\r\n"), "400 invalid request target\n"},
    {"CONNECT without a port", TEXT("CONNECT loom HTTP/1.1\r\n" H11 "\r\n"), "400 invalid request target\n"},
    {"a TLS greeting", TEXT("\x16\x03\x01\x02"), "400 invalid request line\n"},

    // Chunked, broken.
    {"no chunk size", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n\r\nhi"),
     "POST / chunked 400 invalid chunk size line\n"},
    {"chunk size with 0x", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n"),
     "POST / chunked 400 invalid chunk size line\n"},
    {"chunk size with a sign",
     TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n+2\r\nhi\r\n0\r\n\r\n"),
     "POST / chunked 400 invalid chunk size line\n"},
    {"space before a chunk size", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n 2\r\nhi\r\n"),
     "POST / chunked 400 invalid chunk size line\n"},
    {"space after a chunk size", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n2 \r\nhi\r\n"),
     "POST / chunked 400 invalid chunk size line\n"},
    {"chunk size that wraps",
     TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\nhi\r\n"),
     "POST / chunked 400 invalid chunk size line\n"},
    {"bare LF after a chunk size",
     TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n"),
     "POST / chunked 400 invalid chunk size line\n"},
    {"bare LF in an extension",
     TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n2;a\nhi\r\n0\r\n\r\n"),
     "POST / chunked 400 invalid chunk size line\n"},
    {"bare CR in an extension", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n2;a\rb\r\nhi\r\n"),
     "POST / chunked 400 invalid chunk size line\n"},
    {"chunk longer than said",
     TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n2\r\nhix\r\n0\r\n\r\n"),
     "POST / chunked [hi] 400 invalid end of a chunk\n"},
    {"bare LF after a chunk", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\n0\r\n\r\n"),
     "POST / chunked [hi] 400 invalid end of a chunk\n"},
    {"bare LF at the end of chunks",
     TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\n"),
     "POST / chunked [hi] 400 invalid trailer\n"},
    {"bare LF in a trailer", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n"),
     "POST / chunked 400 invalid trailer\n"},
    {"space in a trailer's name",
     TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n0\r\nA : b\r\n\r\n"),
     "POST / chunked 400 invalid trailer\n"},
    {"folded trailer", TEXT("POST / HTTP/1.1\r\n" H11 "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n\r\n"),
     "POST / chunked 400 invalid trailer\n"},
};

static void check_text(const char *name, const char *how, size_t at, const struct record *record, const char *expected)
{
    struct text got = {record->text.data, record->text.len};

    if (!text_eq(got, text_of(expected)))
        fail_msg("%s, %s %zu (%s): got \"%.*s\", expected \"%s\"", name, how, at, parser_name, (int)got.len, got.at,
                 expected);
}

// In a heap block of its own, so that AddressSanitizer sees a read beyond the piece.
static void feed_piece(struct record *record, const char *data, size_t len)
{
    char *piece = mem_alloc(len > 0 ? len : 1);

    memcpy(piece, data, len);
    record_feed(record, piece, len);
    mem_free(piece);
}

static void check_in_two(const struct row *row, size_t cut)
{
    struct record record;

    record_begin(&record, MAX_HEADER_BYTES);
    feed_piece(&record, row->sent.at, cut);
    feed_piece(&record, row->sent.at + cut, row->sent.len - cut);
    check_text(row->name, "cut at", cut, &record, row->expected);
    record_end(&record);
}

static void check_in_bytes(const struct row *row)
{
    struct record record;

    record_begin(&record, MAX_HEADER_BYTES);
    for (size_t i = 0; i < row->sent.len; i++)
        feed_piece(&record, row->sent.at + i, 1);
    check_text(row->name, "bytes", row->sent.len, &record, row->expected);
    record_end(&record);
}

static void check_row(const struct row *row)
{
    for (size_t cut = 0; cut < row->sent.len; cut++)
        check_in_two(row, cut); // 0: whole
    check_in_bytes(row);
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_row(&rows[i]);
}

static void repeat(struct buf *out, const char *what, size_t times)
{
    for (size_t i = 0; i < times; i++)
        buf_str(out, what);
}

// A head of exactly `len` bytes.
static struct buf head_of(size_t len)
{
    struct buf head = BUF_EMPTY;

    buf_str(&head, "GET / HTTP/1.1\r\nHost: loom\r\nA: ");
    repeat(&head, "x", len - head.len - 4);
    buf_str(&head, "\r\n\r\n");
    return head;
}

static void check_buf(const char *name, struct buf *sent, const char *expected)
{
    check_row(&(struct row){name, {sent->data, sent->len}, expected});
    buf_fini(sent);
}

static void test_header_limits(void **state)
{
    (void)state;
    struct buf sent = head_of(MAX_HEADER_BYTES);
    check_buf("as large as may be", &sent, "GET / 0 end\n");
    sent = head_of(MAX_HEADER_BYTES + 1);
    check_buf("a byte too large", &sent, "431 headers too large\n");

    buf_str(&sent, "GET /");
    repeat(&sent, "x", MAX_HEADER_BYTES);
    check_buf("endless request line", &sent, "431 headers too large\n");

    buf_str(&sent, "GET / HTTP/1.1\r\nHost: loom\r\n");
    repeat(&sent, "A:\r\n", H1_MAX_FIELDS - 1);
    buf_str(&sent, "\r\n");
    check_buf("as many as may be", &sent, "GET / 0 end\n");
    buf_str(&sent, "GET / HTTP/1.1\r\nHost: loom\r\n");
    repeat(&sent, "A:\r\n", H1_MAX_FIELDS);
    buf_str(&sent, "\r\n");
    check_buf("one too many", &sent, "431 too many headers\n");
}

static void test_chunk_limits(void **state)
{
    static const char begin[] = "POST / HTTP/1.1\r\nHost: loom\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct buf sent = BUF_EMPTY;

    (void)state;
    buf_str(&sent, begin);
    buf_str(&sent, "0;");
    repeat(&sent, "x", H1_MAX_CHUNK_LINE - 4);
    buf_str(&sent, "\r\n\r\n");
    check_buf("as long as may be", &sent, "POST / chunked end\n");
    buf_str(&sent, begin);
    buf_str(&sent, "1\r\nx\r\n0;");
    repeat(&sent, "x", H1_MAX_CHUNK_LINE - 3);
    buf_str(&sent, "\r\n\r\n");
    check_buf("a byte too long", &sent, "POST / chunked [x] 400 chunk size line too long\n");

    buf_str(&sent, begin);
    buf_str(&sent, "0\r\nA: ");
    repeat(&sent, "x", MAX_HEADER_BYTES - 5);
    buf_str(&sent, "\r\n\r\n");
    check_buf("trailers as large as may be", &sent, "POST / chunked end\n");
    buf_str(&sent, begin);
    buf_str(&sent, "0\r\nA: ");
    repeat(&sent, "x", MAX_HEADER_BYTES - 4);
    buf_str(&sent, "\r\n\r\n");
    check_buf("trailers a byte too large", &sent, "POST / chunked 431 trailers too large\n");
}

// The body comes as spans of what was fed: not one byte is copied.
static const char *piece_begin, *piece_end;

static void on_span(void *ctx, const char *data, size_t len)
{
    (void)ctx;
    assert_true(data >= piece_begin && data + len <= piece_end);
}

static void ignore(void *ctx)
{
    (void)ctx;
}

static void test_body_is_not_copied(void **state)
{
    static const struct h1_events events = {ignore, on_span, ignore};
    static const char sent[] = "POST / HTTP/1.1\r\nHost: loom\r\nContent-Length: 10\r\n\r\n0123456789";
    struct http_request request = {0};
    struct h1 h1;

    (void)state;
    h1_init(&h1, &events, NULL, &request, MAX_HEADER_BYTES);
    for (size_t i = 0; i < sizeof sent - 1; i += 6) {
        size_t len = sizeof sent - 1 - i < 6 ? sizeof sent - 1 - i : 6;
        piece_begin = sent + i;
        piece_end = piece_begin + len;
        assert_int_equal(h1_feed(&h1, piece_begin, len), len);
    }
    assert_int_equal(h1.state, H1_COMPLETE);
    h1_fini(&h1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_header_limits),
        cmocka_unit_test(test_chunk_limits),
        cmocka_unit_test(test_body_is_not_copied),
    };
    print_message("parser: %s\n", parser_name);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
