"""MeMa's tables that compare methods, beside what ``mema benchmark run`` measured of ours."""
