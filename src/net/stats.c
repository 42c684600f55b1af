// SPDX-License-Identifier: Apache-2.0
#include "net/stats.h"

struct net_stats net_stats;
