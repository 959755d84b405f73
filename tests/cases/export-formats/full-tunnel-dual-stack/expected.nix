# wg0.nix
{ ... }:
{
  networking.wg-quick.interfaces."wg0" = {
    privateKeyFile = "/etc/wireguard/wg0.key";
    address = [ "192.168.3.4/24" "fd5e:1::4/64" ];
    dns = [ "192.168.3.1" "fd5e:1::1" "lan" ];
    mtu = 1380;
    peers = [
      {
        publicKey = "dIECCpakV5Cb1om4saCMHt9whOapJZ50XqLgEhDz71c=";
        presharedKeyFile = "/etc/wireguard/wg0-1.psk";
        allowedIPs = [ "0.0.0.0/0" "::/0" ];
        endpoint = "vpn.example.org:51820";
        persistentKeepalive = 25;
      }
    ];
  };
}
# wg0.key
gEYWsx78MxZ9xXlrmJhuoHwQXPXIDpf3mzauAxhqPWM=
# wg0-1.psk
5/UEky6omn+e0ebTmBJR90CoYTJYgQvlqs7QvWso92w=
