# wg0.nix
{ ... }:
{
  networking.wg-quick.interfaces."wg0" = {
    privateKeyFile = "/etc/wireguard/wg0.key";
    address = [ "192.168.3.1/24" ];
    listenPort = 51820;
    peers = [
      {
        publicKey = "eEg05UoB4l+lefDo7+MvLfA0IOfI/K5ofmslSQJkwTI=";
        presharedKeyFile = "/etc/wireguard/wg0-1.psk";
        allowedIPs = [ "192.168.3.3/32" "192.168.33.0/24" ];
      }
      {
        publicKey = "cNEYDV7tWAPYNO+OGtSV31CtNViPS8ezYIr6aKbArjs=";
        presharedKeyFile = "/etc/wireguard/wg0-2.psk";
        allowedIPs = [ "192.168.3.4/32" ];
      }
      {
        publicKey = "Sh10DA2hJ1mk1aHfT857C42KUvsHCWsJjb/4FF7APDg=";
        presharedKeyFile = "/etc/wireguard/wg0-3.psk";
        allowedIPs = [ "192.168.3.2/32" ];
      }
    ];
  };
}
# wg0.key
QDuoEsuIR4iJAOi1hfc8CJfdVBfPUCzDVtm/I3qi/n8=
# wg0-1.psk
SItMMRw8ZLDcQAYHm+hNjLHuTCtiT8OjiYjzG8Prb4s=
# wg0-2.psk
J3H+9ZTMrtH5yHKec4ayA3Fn5A9zK3labZsB1oLi88Q=
# wg0-3.psk
wErl+vqGEpLst4e5abnRJ3n4Tum53/NPfLa/3frT8+k=
=== said:
node.wsl: warning[no-firewall]: wsl forwards for others, and a file of this kind carries neither forwarding nor firewall rules
  hint: see to both there by hand, or run wgrelay itself on that host, with its bundle
