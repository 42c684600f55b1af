# SPDX-License-Identifier: Apache-2.0
"""What bench/run, bench/scale and bench/soak share: processes, servers, load, figures, the report."""
