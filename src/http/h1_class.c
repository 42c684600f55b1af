// SPDX-License-Identifier: Apache-2.0

#include "http/h1_class.h"

const uint8_t h1_classes[256] = {
    ['\t'] = H1_VALUE,
    [' '] = H1_VALUE,
    ['!'] = H1_TOKEN | H1_VALUE | H1_TARGET | H1_HOST,
    ['"'] = H1_VALUE | H1_TARGET,
    ['#'] = H1_TOKEN | H1_VALUE,
    ['$' ... '\''] = H1_TOKEN | H1_VALUE | H1_TARGET | H1_HOST,
    ['(' ... ')'] = H1_VALUE | H1_TARGET | H1_HOST,
    ['*' ... '+'] = H1_TOKEN | H1_VALUE | H1_TARGET | H1_HOST,
    [','] = H1_VALUE | H1_TARGET | H1_HOST,
    ['-' ... '.'] = H1_TOKEN | H1_VALUE | H1_TARGET | H1_HOST,
    ['/'] = H1_VALUE | H1_TARGET,
    ['0' ... '9'] = H1_TOKEN | H1_VALUE | H1_TARGET | H1_HOST,
    [':'] = H1_VALUE | H1_TARGET,
    [';'] = H1_VALUE | H1_TARGET | H1_HOST,
    ['<'] = H1_VALUE | H1_TARGET,
    ['='] = H1_VALUE | H1_TARGET | H1_HOST,
    ['>' ... '@'] = H1_VALUE | H1_TARGET,
    ['A' ... 'Z'] = H1_TOKEN | H1_VALUE | H1_TARGET | H1_HOST,
    ['[' ... ']'] = H1_VALUE | H1_TARGET,
    ['^'] = H1_TOKEN | H1_VALUE | H1_TARGET,
    ['_'] = H1_TOKEN | H1_VALUE | H1_TARGET | H1_HOST,
    ['`'] = H1_TOKEN | H1_VALUE | H1_TARGET,
    ['a' ... 'z'] = H1_TOKEN | H1_VALUE | H1_TARGET | H1_HOST,
    ['{'] = H1_VALUE | H1_TARGET,
    ['|'] = H1_TOKEN | H1_VALUE | H1_TARGET,
    ['}'] = H1_VALUE | H1_TARGET,
    ['~'] = H1_TOKEN | H1_VALUE | H1_TARGET | H1_HOST,
    [0x80 ... 0xff] = H1_VALUE,
};
