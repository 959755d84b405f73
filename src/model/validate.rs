//! Rules between fields: duplicates, overlaps, sites in the tunnel subnet, too many relays.
