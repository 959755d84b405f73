# wg0.nix
{ ... }:
{
  networking.wg-quick.interfaces."wg0" = {
    privateKeyFile = "/etc/wireguard/wg0.key";
    address = [ "192.168.3.1/24" ];
    listenPort = 51820;
    peers = [
      {
        publicKey = "QFBijplSWOVayBcGlzBMCgcP/FEEDC2P4+RSQQiBIn4=";
        presharedKeyFile = "/etc/wireguard/wg0-1.psk";
        allowedIPs = [ "192.168.3.3/32" "192.168.33.0/24" ];
      }
      {
        publicKey = "5YZaHrXJkC9t3shmRkQOgwkOylRQeSG8EB6T7vCivxQ=";
        presharedKeyFile = "/etc/wireguard/wg0-2.psk";
        allowedIPs = [ "192.168.3.4/32" ];
      }
      {
        publicKey = "vpVInTS0Bky8u1+CVXL1m+2hH2ycYXbjLu29TYCxLAE=";
        presharedKeyFile = "/etc/wireguard/wg0-3.psk";
        allowedIPs = [ "192.168.3.2/32" ];
      }
    ];
  };
}
# wg0.key
IIRw2gO5RDR0Xuk5KPw2W4rTfKcQbeMx28yQNUkcc3M=
# wg0-1.psk
N93rn6rCifFGlOkJtuJf7m1YJYGFmXxraVd8ClKv5bM=
# wg0-2.psk
5/UEky6omn+e0ebTmBJR90CoYTJYgQvlqs7QvWso92w=
# wg0-3.psk
1HOdJJaQLrHZJD8mqZP+Kr1kMfiA55y2HYWP25RMK9I=
=== said:
node.wsl: warning[no-firewall]: wsl forwards for others, and a file of this kind carries neither forwarding nor firewall rules
  hint: see to both there by hand, or run wgrelay itself on that host, with its bundle
