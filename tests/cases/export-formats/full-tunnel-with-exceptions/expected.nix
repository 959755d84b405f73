# wg0.nix
{ ... }:
{
  networking.wg-quick.interfaces."wg0" = {
    privateKeyFile = "/etc/wireguard/wg0.key";
    address = [ "192.168.3.4/24" ];
    dns = [ "192.168.3.1" "lan" ];
    mtu = 1380;
    table = "51820";
    postUp = ''
      wg set wg0 fwmark 51820
      for f in -4 -6; do ip $f rule add pref 32400 table main suppress_prefixlength 0 || :; ip $f rule add pref 32401 not fwmark 51820 table 51820 || :; done; ! command -v nft >/dev/null || nft -f - <<< "table inet wgrelay-q-wg0-m { chain incoming { type filter hook prerouting priority -150; meta l4proto udp meta mark set ct mark; }; chain outgoing { type filter hook postrouting priority -150; meta l4proto udp meta mark 51820 ct mark set meta mark; }; }"; sysctl -q net.ipv4.conf.all.src_valid_mark=1
    '';
    postDown = ''
      for f in -4 -6; do ip $f rule del pref 32400 table main suppress_prefixlength 0 2>/dev/null || :; ip $f rule del pref 32401 not fwmark 51820 table 51820 2>/dev/null || :; done; ! command -v nft >/dev/null || nft delete table inet wgrelay-q-wg0-m 2>/dev/null || :
    '';
    peers = [
      {
        publicKey = "dIECCpakV5Cb1om4saCMHt9whOapJZ50XqLgEhDz71c=";
        presharedKeyFile = "/etc/wireguard/wg0-1.psk";
        allowedIPs = [ "0.0.0.0/1" "128.0.0.0/2" "192.0.0.0/9" "192.128.0.0/11" "192.160.0.0/13" "192.168.0.0/19" "192.168.32.0/22" "192.168.36.0/23" "192.168.38.0/24" "192.168.40.0/21" "192.168.48.0/20" "192.168.64.0/18" "192.168.128.0/17" "192.169.0.0/16" "192.170.0.0/15" "192.172.0.0/14" "192.176.0.0/12" "192.192.0.0/10" "193.0.0.0/8" "194.0.0.0/7" "196.0.0.0/6" "200.0.0.0/5" "208.0.0.0/4" "224.0.0.0/3" "::/0" ];
        endpoint = "203.0.113.7:51820";
        persistentKeepalive = 25;
      }
    ];
  };
}
# wg0.key
gEYWsx78MxZ9xXlrmJhuoHwQXPXIDpf3mzauAxhqPWM=
# wg0-1.psk
5/UEky6omn+e0ebTmBJR90CoYTJYgQvlqs7QvWso92w=
