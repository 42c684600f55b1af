// SPDX-License-Identifier: Apache-2.0
#include "sink/es_time.h"

#include "json/member.h"

#define SECONDS_MIN INT64_C(-62167219200) // 0000-01-01
#define SECONDS_MAX INT64_C(253402300799) // 9999-12-31T23:59:59

static bool is_timestamp(struct text key)
{
    char plain[16];
    bool fits;
    if (memchr(key.at, '\\', key.len) == NULL)
        return text_eq(key, TEXT("@timestamp"));
    size_t len = member_unescape(key, plain, sizeof plain, &fits);
    return fits && text_eq((struct text){plain, len}, TEXT("@timestamp"));
}

bool es_time_find(struct text event, struct text *value)
{
    const char *at = memchr(event.at, '{', event.len), *end = event.at + event.len;
    struct member member;
    if (at == NULL)
        return false;
    at++;
    while (member_next(&at, end, &member)) {
        if (is_timestamp(member.key)) {
            *value = member.value;
            return true;
        }
    }
    return false;
}

// Takes exactly `digits` of them.
static bool take_number(struct text *rest, unsigned digits, int *out)
{
    if (rest->len < digits)
        return false;
    *out = 0;
    for (unsigned i = 0; i < digits; i++) {
        if (rest->at[i] < '0' || rest->at[i] > '9')
            return false;
        *out = *out * 10 + (rest->at[i] - '0');
    }
    rest->at += digits;
    rest->len -= digits;
    return true;
}

static bool take(struct text *rest, char c)
{
    if (rest->len == 0 || rest->at[0] != c)
        return false;
    rest->at++;
    rest->len--;
    return true;
}

// Days since 1970-01-01 in the Gregorian calendar, from March on so that the leap day comes last.
static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

// Z, +hh:mm, +hhmm, +hh or nothing; to the end.
static bool take_zone(struct text *rest, int *offset_s)
{
    *offset_s = 0;
    if (rest->len == 0)
        return true;
    if (take(rest, 'Z') || take(rest, 'z'))
        return rest->len == 0;
    bool west = rest->at[0] == '-';
    int hours, minutes = 0;
    if (!west && rest->at[0] != '+')
        return false;
    rest->at++;
    rest->len--;
    if (!take_number(rest, 2, &hours))
        return false;
    if (rest->len > 0) {
        take(rest, ':');
        if (!take_number(rest, 2, &minutes))
            return false;
    }
    *offset_s = (hours * 3600 + minutes * 60) * (west ? -1 : 1);
    return rest->len == 0 && hours < 24 && minutes < 60;
}

static bool take_clock(struct text *rest, int *seconds)
{
    int hour, minute = 0, second = 0;
    if (!take_number(rest, 2, &hour))
        return false;
    if (take(rest, ':')) {
        if (!take_number(rest, 2, &minute))
            return false;
        if (take(rest, ':')) {
            if (!take_number(rest, 2, &second))
                return false;
            if (take(rest, '.') || take(rest, ',')) {
                int digit;
                if (!take_number(rest, 1, &digit))
                    return false;
                while (take_number(rest, 1, &digit))
                    ;
            }
        }
    }
    *seconds = hour * 3600 + minute * 60 + (second == 60 ? 59 : second); // a leap second belongs to its minute
    return hour < 24 && minute < 60 && second <= 60;
}

static bool read_date(struct text rest, int64_t *seconds)
{
    int year, month, day, clock = 0, offset = 0;
    if (!take_number(&rest, 4, &year) || !take(&rest, '-') || !take_number(&rest, 2, &month) || !take(&rest, '-') ||
        !take_number(&rest, 2, &day))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_in(year, month))
        return false;
    if (rest.len > 0 && !take(&rest, 'T') && !take(&rest, 't') && !take(&rest, ' '))
        return false;
    if (rest.len > 0 && !take_clock(&rest, &clock))
        return false;
    if (!take_zone(&rest, &offset))
        return false;
    *seconds = days_from_civil(year, month, day) * 86400 + clock - offset;
    return true;
}

// Milliseconds; parts of them don't matter. No exponents: who writes times like that?
static bool read_millis(struct text rest, int64_t *seconds)
{
    bool negative = take(&rest, '-');
    int64_t millis = 0;
    int digit, digits = 0;
    while (digits < 16 && take_number(&rest, 1, &digit)) {
        millis = millis * 10 + digit;
        digits++;
    }
    if (digits == 0 || digits == 16)
        return false;
    if (take(&rest, '.'))
        while (take_number(&rest, 1, &digit))
            ;
    if (rest.len > 0)
        return false;
    // Rounded down, so that what is before 1970 falls into its own second.
    *seconds = negative ? -((millis + 999) / 1000) : millis / 1000;
    return true;
}

bool es_time_read(struct text value, int64_t *seconds)
{
    char plain[64];
    struct text text = value;
    bool found;
    if (value.len >= 2 && value.at[0] == '"') {
        bool fits;
        size_t len = member_unescape((struct text){value.at + 1, value.len - 2}, plain, sizeof plain, &fits);
        if (!fits)
            return false;
        text = (struct text){plain, len};
        found = read_date(text, seconds) || (len > 4 && read_millis(text, seconds)); // four digits are a year
    } else {
        found = read_millis(text, seconds);
    }
    return found && *seconds >= SECONDS_MIN && *seconds <= SECONDS_MAX;
}
